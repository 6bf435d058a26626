"""Bodies of requests: read whole, within a limit and a deadline, before anything else happens.

A request whose body is still to come holds no place among those that are being answered, so
clients that announce a body and never send it keep nobody out. The price is memory, which is
bounded: all bodies that are held, unfinished ones and those being answered, share one budget.

Pure ASGI. Knows nothing of what bodies hold.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsvc.api.problems import response
from recsvc.errors import (
    BadRequestError,
    PayloadTooLargeError,
    RecsvcError,
    RequestTimeoutError,
    TooManyRequestsError,
    UnsupportedMediaTypeError,
)

DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_S = 10.0
"""How much of a body that is refused is read all the same, and for how long: most clients read the
answer only when they have sent everything, and lose it where the connection closes before."""
HELD_BODIES = 32
"""Bodies of the largest size that one worker holds at a time, or as many bytes of smaller ones."""


@dataclass(slots=True)
class _Body:
    """What came of a body so far."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    is_open: bool = True


class Bodies:
    """Passes requests on once their body is there.

    Answers 413 to a body above the limit, announced or streamed; 408 to one that is not there in
    time; 429 to one beyond what is held at a time; 415 to one that is compressed.

    Args:
        app: the next one.
        max_bytes: largest body.
        timeout_s: from the end of the head to the end of the body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        body = _Body()
        try:
            await self._read(headers, receive, body)
        except RecsvcError as exc:
            self._release(body)
            if body.is_open and _will_be_sent(headers, exc):
                await _drain(receive)
            await response(exc, {"Connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, _replayed(body, receive), send)
        finally:
            self._release(body)

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive, body: _Body) -> None:
        if _announced(headers) > self._max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._timeout_s):
                while body.is_open:
                    self._take(await receive(), body)
        except TimeoutError as exc:
            raise RequestTimeoutError(
                f"the body was not there within {self._timeout_s:g} s (receive_timeout_s), "
                f"{body.size} bytes of it were; send it in smaller parts"
            ) from exc
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if body.size and encoding.strip().lower() not in ("", "identity"):
            raise UnsupportedMediaTypeError(
                f"content-encoding is {encoding[:60]!r}; send the body as it is, not compressed, "
                "and leave the header out"
            )

    def _take(self, message: Message, body: _Body) -> None:
        if message["type"] == "http.disconnect":
            raise BadRequestError("the connection was closed before the body was there")
        part = message.get("body", b"")
        body.parts.append(part)
        body.size += len(part)
        self._held_bytes += len(part)
        body.is_open = message.get("more_body", False)
        if body.size > self._max_bytes:
            raise self._too_large()
        if self._held_bytes > HELD_BODIES * self._max_bytes:
            raise TooManyRequestsError(
                f"more than {HELD_BODIES * self._max_bytes} bytes of bodies are held "
                f"({HELD_BODIES} times max_body_bytes); send this one again in a moment",
                retry_after_s=1,
            )

    def _release(self, body: _Body) -> None:
        self._held_bytes -= body.size
        body.size = 0
        body.parts.clear()

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(
            f"the body is larger than {self._max_bytes} bytes (max_body_bytes); send it in parts"
        )


def _announced(headers: Mapping[bytes, bytes]) -> int:
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


def _will_be_sent(headers: Mapping[bytes, bytes], error: RecsvcError) -> bool:
    """Whether the rest of a body that was refused is on its way, and short enough to wait for."""
    if isinstance(error, RequestTimeoutError) or _announced(headers) > DRAIN_BYTES:
        return False
    return headers.get(b"expect", b"").lower() != b"100-continue"


def _replayed(body: _Body, receive: Receive) -> Receive:
    """A `receive` that gives the whole body first."""
    parts, body.parts = body.parts, []
    whole: bytes | None = parts[0] if len(parts) == 1 else b"".join(parts)
    del parts

    async def replay() -> Message:
        nonlocal whole
        if whole is None:
            return await receive()
        message = {"type": "http.request", "body": whole, "more_body": False}
        whole = None
        return message

    return replay


async def _drain(receive: Receive) -> None:
    """Read what is left of a body and forget it, within bounds."""
    drained = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while drained <= DRAIN_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
