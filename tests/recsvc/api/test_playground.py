"""GET /: the page as it is sent, and the policy that holds it together."""

import base64
import hashlib
import json
import re

import httpx

from recsvc.api.playground import MAX_CHOICES, data_block, describe
from recsvc.contract.manifest import DatasetSpec, InteractionRules
from recsvc.contract.schema import Column, FeatureSchema

BLOCK = re.compile(r'<script type="application/json" id="dataset">(.*?)</script>', re.DOTALL)


def policy(answer: httpx.Response) -> dict[str, str]:
    """The Content-Security-Policy by directive."""
    directives = answer.headers["content-security-policy"].split("; ")
    return dict(directive.split(" ", 1) for directive in directives)


def test_the_policy_allows_the_page_alone(http: httpx.Client) -> None:
    """One script and one style by their hashes, calls to the service itself, and nothing else."""
    answer = http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    expected = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        expected[f"{tag}-src"] = f"'sha256-{digest}'"
    assert policy(answer) == expected
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    """No address of another host, no inline handler or style, no way from text to markup."""
    text = http.get("/").text
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s'\"]*", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name space, never fetched
    assert not re.search(r"\s(?:on\w+|style)=", text)
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert forbidden not in text


def test_the_page_knows_the_columns(http: httpx.Client) -> None:
    """Forms and cards follow the active model's own data set."""
    (block,) = BLOCK.findall(http.get("/").text)
    described = json.loads(block)
    assert described["title"] == "title"
    assert described["user"] == [
        {
            "name": "side",
            "kind": "categorical",
            "separator": "|",
            "values": ["black", "white"],
        }
    ]
    assert [column["name"] for column in described["item"]] == ["colour", "tags", "year"]


def test_no_column_can_end_the_block() -> None:
    """A category may hold markup; it stays data, and is read back as it was."""
    hostile = "</script><script>alert(1)</script><!--"
    described = describe(_dataset((hostile,)))
    (content,) = BLOCK.findall(data_block(described))
    assert "<" not in content
    assert json.loads(content)["user"][0]["values"] == [hostile]


def test_choices_are_bounded() -> None:
    """A column of many categories offers the first of them and stays a small page."""
    described = describe(_dataset(tuple(str(n) for n in range(MAX_CHOICES + 1))))
    assert len(described["user"][0]["values"]) == MAX_CHOICES


def _dataset(vocabulary: tuple[str, ...]) -> DatasetSpec:
    column = Column(name="c", kind="categorical", vocabulary=vocabulary)
    return DatasetSpec(
        name="d",
        users=1,
        items=1,
        interactions=1,
        positives=1,
        sha256="0" * 64,
        rules=InteractionRules(),
        user_features=FeatureSchema(columns=(column,)),
        item_features=FeatureSchema(),
    )
