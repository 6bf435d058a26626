"""A worker that is full says so at once instead of letting requests pile up."""

import asyncio
from typing import Any

import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from recsvc.api.middleware import Admission

pytestmark = pytest.mark.anyio


class Slow:
    """An app that answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.fails = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.go_on.wait()
        if self.fails:
            raise ValueError("broken")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def ask(app: Admission, path: str = "/v1/models") -> list[Message]:
    """What the app sends."""
    sent: list[Message] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return sent


async def test_more_than_allowed_are_refused_at_once() -> None:
    """429 with Retry-After beside as many as are allowed; a probe passes; then there is room."""
    slow = Slow()
    app = Admission(slow, max_requests=2)
    waiting = [asyncio.create_task(ask(app)) for _ in range(2)]
    await asyncio.sleep(0)
    start, body = await ask(app)
    assert start["status"] == 429
    assert (b"retry-after", b"1") in start["headers"]
    assert "max_requests_in_flight" in orjson.loads(body["body"])["detail"]
    probe = asyncio.create_task(ask(app, "/livez"))
    await asyncio.sleep(0)
    slow.go_on.set()
    assert [(await task)[0]["status"] for task in (*waiting, probe)] == [200, 200, 200]
    assert (await ask(app))[0]["status"] == 200


async def test_a_request_that_fails_or_goes_away_makes_room() -> None:
    """Neither an error nor a client that leaves takes a place for ever."""
    slow = Slow()
    app = Admission(slow, max_requests=1)
    gone = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    slow.go_on.set()
    slow.fails = True
    with pytest.raises(ValueError, match="broken"):
        await ask(app)
    slow.fails = False
    assert (await ask(app))[0]["status"] == 200
