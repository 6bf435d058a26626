"""Bodies are read whole, in bounded time and memory, before anything is done for a request."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from recsvc.api.bodies import HELD_BODIES, Bodies
from recsvc.api.middleware import Ending
from tests.recsvc.api.calls import problem

pytestmark = pytest.mark.anyio

LIMIT = 100


class Reader:
    """An app that answers with the body that it was given, once it may."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.started = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started += 1
        message = await receive()
        assert not message["more_body"]
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})


class Client:
    """One request whose body comes in parts."""

    def __init__(self, app: Any, **headers: str) -> None:
        self._parts: asyncio.Queue[Message] = asyncio.Queue()
        self.answer: list[Message] = []
        encoded = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": encoded}
        self.task = asyncio.create_task(app(scope, self._parts.get, self._send))

    def gives(self, part: bytes, *, more: bool = False) -> None:
        self._parts.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def leaves(self) -> None:
        self._parts.put_nowait({"type": "http.disconnect"})

    async def status(self) -> int:
        await self.task
        found: int = self.answer[0]["status"]
        return found

    @property
    def detail(self) -> str:
        return str(orjson.loads(self.answer[1]["body"])["detail"])

    async def _send(self, message: Any) -> None:
        self.answer.append(message)


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_parts_of_a_body_arrive_as_one() -> None:
    """What is behind sees nothing of a request before its body is there."""
    reader = Reader()
    reader.go_on.set()
    client = Client(Bodies(reader, LIMIT, timeout_s=60))
    client.gives(b"first ", more=True)
    await settle()
    assert reader.started == 0
    client.gives(b"second")
    assert (await client.status(), client.answer[1]["body"]) == (200, b"first second")


async def test_a_body_that_does_not_come_is_a_408() -> None:
    """The connection is closed, so that no rest of the body is taken for a request."""
    client = Client(Bodies(Reader(), LIMIT, timeout_s=0.01))
    client.gives(b"half", more=True)
    assert await client.status() == 408
    assert (b"connection", b"close") in client.answer[0]["headers"]
    assert "4 bytes" in client.detail
    assert "receive_timeout_s" in client.detail


async def test_all_bodies_share_one_budget() -> None:
    """429 beyond it, for unfinished bodies and those being answered alike; then there is room."""
    reader = Reader()
    app = Bodies(reader, LIMIT, timeout_s=60)
    answered = Client(app)
    answered.gives(b"x" * LIMIT)
    gone = [Client(app) for _ in range(HELD_BODIES - 1)]
    for client in gone:
        client.gives(b"x" * LIMIT, more=True)
    await settle()
    late = Client(app)
    late.gives(b"x")
    assert (await late.status(), "max_body_bytes" in late.detail) == (429, True)
    for client in gone:
        client.leaves()
    await settle()
    reader.go_on.set()
    again = Client(app)
    again.gives(b"x" * LIMIT)
    assert [await answered.status(), await again.status()] == [200, 200]
    assert app._held_bytes == 0


async def test_what_the_process_gives_up_is_a_503() -> None:
    """A request that is cancelled, its body there or not, gets a problem instead of a bare 500."""
    app = Ending(Bodies(Reader(), LIMIT, timeout_s=60))
    reading, answering = Client(app), Client(app)
    answering.gives(b"x")
    await settle()
    for client in (reading, answering):
        client.task.cancel()
        assert await client.status() == 503
        assert "send the request again" in client.detail


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
def test_a_compressed_body_is_a_415(http: httpx.Client, user: str, coding: str) -> None:
    """It is not read as if it were plain, and the problem says what to do."""
    path, body = f"/v1/users/{user}", {"features": {"city": "x"}}
    found = problem(http.put(path, json=body, headers={"content-encoding": coding}), 415)
    assert coding in found["detail"]
    assert "not compressed" in found["detail"]
    plain = http.put(path, json=body, headers={"content-encoding": "Identity"})
    assert plain.status_code == 200
    assert http.get("/v1/models", headers={"content-encoding": "gzip"}).status_code == 200
