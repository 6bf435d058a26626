"""The server's HTTP protocol: uvicorn's, with three differences.

An answer leaves in one piece: uvicorn writes its head and its body apart, and uvloop sends each at
once, which takes two system calls and wakes the client for the head alone. A request's head has a
limit and a deadline; uvicorn's has neither. And what is no HTTP is answered with a problem, as all
else is. Knows nothing of the app.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recsvc.errors import BadRequestError, HeadTooLargeError, RecsvcError, RequestTimeoutError

HEAD_BYTES = 64 * 1024
"""Of a request before its body; what is read at a time comes on top."""
HEAD_TIMEOUT_S = 10.0
_REFUSAL = """HTTP/1.1 {status} {phrase}\r
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
    """uvicorn's protocol over joined writes, with bounded heads and problems.

    Args:
        head_timeout_s: from the connection, or the first byte of a later request, to the end of the
            head.
        options: uvicorn's own.
    """

    def __init__(self, *, head_timeout_s: float = HEAD_TIMEOUT_S, **options: Any) -> None:
        super().__init__(**options)
        self._head_timeout_s = head_timeout_s
        self._head_bytes = 0
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        joined = JoinedWrites(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", joined))
        self._watch_head(0)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        super().data_received(data)
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and not self.transport.is_closing():
            self._watch_head(len(data))

    def on_headers_complete(self) -> None:
        """The parser: a head is there."""
        self._end_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: gone."""
        self._end_head()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser could not read, and close."""
        self._refuse(BadRequestError("this is no HTTP/1.1 request"))

    def _watch_head(self, size: int) -> None:
        """Note bytes of a head that is not complete."""
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            self._refuse(
                HeadTooLargeError(
                    f"the head of the request is larger than {HEAD_BYTES} bytes; "
                    "send fewer or shorter headers"
                )
            )
        elif self._head_deadline is None:
            self._head_deadline = self.loop.call_later(self._head_timeout_s, self._give_up_head)

    def _give_up_head(self) -> None:
        if not self._head_bytes:  # nothing was asked
            self.transport.close()
            return
        self._refuse(
            RequestTimeoutError(
                f"the head of the request was not there within {self._head_timeout_s:g} s "
                "(receive_timeout_s); send it at once"
            )
        )

    def _end_head(self) -> None:
        self._head_bytes = 0
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _refuse(self, error: RecsvcError) -> None:
        body = orjson.dumps(error.problem())
        phrase = HTTPStatus(error.status).phrase
        head = _REFUSAL.format(status=error.status, phrase=phrase, length=len(body))
        self.transport.write(head.encode() + body)
        self.transport.close()
