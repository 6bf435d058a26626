"""What every route of /v1 does first: check the caller's key and the names of query parameters, and
read a JSON body by the letter.

By the letter of RFC 8259: no NaN, no infinity, no number beyond a double, no half of a surrogate
pair, no more than about a thousand levels; what is wrong is placed. Knows nothing of what bodies
hold.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from recsvc.api import problems
from recsvc.api.access import scope_of
from recsvc.api.context import context
from recsvc.api.parameters import check_names

SECURITY = "key"
"""What OpenAPI calls the keys."""
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRequest(Request):
    """A request whose body is strict JSON."""

    async def json(self) -> Any:
        """The body as values.

        Raises:
            JSONDecodeError: it is no JSON; FastAPI makes a validation error of it.
        """
        body = await self.body()
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            raise _placed(exc, body) from exc


class ServiceRoute(APIRoute):
    """A route that takes `JsonRequest`s of callers who may make them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options["openapi_extra"] = {
            **(options.get("openapi_extra") or {}),
            "security": [{SECURITY: []}],
        }
        super().__init__(*args, **options)

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, behind the check."""
        handle = super().get_route_handler()
        scope = scope_of(self.operation_id, self.methods or set())
        known = self._query_parameters()

        async def handle_allowed(request: Request) -> Response:
            context(request).access.check(request.headers.get("authorization"), scope)
            strict = JsonRequest(request.scope, request.receive)
            if request.scope["query_string"]:
                check_names(strict, known)
            return await handle(strict)

        return handle_allowed

    def _query_parameters(self) -> dict[str, bool]:
        """Whether a parameter takes several values, by name."""
        documented = (self.openapi_extra or {}).get("parameters", [])
        named = {p["name"]: p["schema"].get("type") == "array" for p in documented}
        return {**named, **{field.alias: False for field in self.dependant.query_params}}


def describe(app: FastAPI) -> None:
    """Say in an app's OpenAPI document how a key is sent, and what a problem is."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        document = plain()
        document["components"]["schemas"][problems.SCHEMA] = problems.schema()
        document["components"]["securitySchemes"] = {
            SECURITY: {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key; none is needed while none exists, except by `admin`.",
            }
        }
        return document

    app.openapi = complete  # type: ignore[method-assign] # the documented way to extend it


def _placed(exc: orjson.JSONDecodeError, body: bytes) -> json.JSONDecodeError:
    """The error, with the place of bytes that are no text, which orjson does not tell."""
    try:
        body.decode()
    except UnicodeDecodeError as found:
        return json.JSONDecodeError(f"byte 0x{body[found.start]:02x} is no UTF-8", "", found.start)
    return json.JSONDecodeError(exc.msg, "", exc.pos)
