"""The server's HTTP protocol: uvicorn's, with two differences.

An answer leaves in one piece: uvicorn writes its head and its body apart, and uvloop sends each at
once, which takes two system calls and wakes the client for the head alone. And what is no HTTP is
answered with a problem, as all else is. Knows nothing of the app.
"""

import asyncio
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recsvc.errors import BadRequestError

_NO_HTTP = """HTTP/1.1 400 Bad Request\r
content-type: application/problem+json\r
content-length: {length}\r
connection: close\r
\r
"""


class JoinedWrites:
    """A transport that sends what is written in one step of the event loop as one piece.

    Args:
        transport: the real one, which does everything else.
        loop: its loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send with whatever else is written before the loop's next step."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._held and not self._transport.is_closing():
            self._transport.write(b"".join(self._held))
        self._held.clear()


class ServiceProtocol(HttpToolsProtocol):
    """uvicorn's protocol over joined writes, with problems."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        joined = JoinedWrites(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", joined))

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser could not read, and close."""
        problem = BadRequestError("this is no HTTP/1.1 request, or its head is too large").problem()
        body = orjson.dumps(problem)
        self.transport.write(_NO_HTTP.format(length=len(body)).encode() + body)
        self.transport.close()
