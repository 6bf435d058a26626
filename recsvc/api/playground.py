"""GET /: the playground, a page on which a visitor's list changes with every click.

One static file that asks the API for everything it shows, plus a block of data beside its script:
the columns of the active model's data set, for the forms. Knows nothing of lists or events.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from recsvc.api.context import context
from recsvc.contract.manifest import DatasetSpec
from recsvc.contract.schema import Column
from recsvc.errors import NotReadyError

MAX_CHOICES = 300
"""Values offered for one column; any other may be typed."""

_MARKER = "<!--dataset-->"
_NOTHING: dict[str, Any] = {"title": None, "user": [], "item": []}

router = APIRouter()


@dataclass(frozen=True, slots=True)
class _Page:
    """The file, split where the block of data goes, and the policy that fits its content."""

    head: str
    tail: str
    policy: str


@router.get("/", include_in_schema=False)
async def playground(request: Request) -> HTMLResponse:
    """The page; without a model it is served all the same and says what is wrong."""
    page = _page()
    try:
        described = describe(context(request).recommender.model.manifest.dataset)
    except NotReadyError:
        described = _NOTHING
    headers = {
        "Content-Security-Policy": page.policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(f"{page.head}{data_block(described)}{page.tail}", headers=headers)


def describe(dataset: DatasetSpec) -> dict[str, Any]:
    """What the page's forms and cards need to know of a data set."""
    return {
        "title": dataset.title_column,
        "user": [_column(c) for c in dataset.user_features.columns],
        "item": [_column(c) for c in dataset.item_features.columns],
    }


def data_block(described: dict[str, Any]) -> str:
    """JSON as an element that is never run; no text in it can end the element."""
    text = orjson.dumps(described).decode().replace("<", "\\u003c")
    return f'<script type="application/json" id="dataset">{text}</script>'


def _column(column: Column) -> dict[str, Any]:
    chosen = column.vocabulary if column.kind in ("categorical", "multi-categorical") else ()
    return {
        "name": column.name,
        "kind": column.kind,
        "separator": column.separator,
        "values": chosen[:MAX_CHOICES],
    }


@cache
def _page() -> _Page:
    text = resources.files("recsvc.api").joinpath("static/playground.html").read_text("utf-8")
    head, _, tail = text.partition(_MARKER)
    policy = {
        "default-src": "'none'",
        "script-src": _hash_of("script", text),
        "style-src": _hash_of("style", text),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return _Page(head, tail, "; ".join(f"{name} {value}" for name, value in policy.items()))


def _hash_of(tag: str, text: str) -> str:
    """The source expression that allows the one inline element of this tag."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
