"""How a JSON body is read: by the letter of RFC 8259, and what is wrong in it is placed.

No NaN, no infinity, no number beyond a double, no half of a surrogate pair, no more than about a
thousand levels. Knows nothing of what bodies hold.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

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


class JsonRoute(APIRoute):
    """A route that takes `JsonRequest`s."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, given the other kind of request."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json


def _placed(exc: orjson.JSONDecodeError, body: bytes) -> json.JSONDecodeError:
    """The error, with the place of bytes that are no text, which orjson does not tell."""
    try:
        body.decode()
    except UnicodeDecodeError as found:
        return json.JSONDecodeError(f"byte 0x{body[found.start]:02x} is no UTF-8", "", found.start)
    return json.JSONDecodeError(exc.msg, "", exc.pos)
