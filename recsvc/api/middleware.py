"""What every request passes: the stopwatch, admission, the body's limit, the path as it was sent.

Pure ASGI. Knows nothing of the routes.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsvc.api.problems import response
from recsvc.errors import PayloadTooLargeError, TooManyRequestsError
from recsvc.telemetry import Metrics

DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_S = 10.0
"""How much of a body that is refused is read all the same, and for how long: most clients read the
answer only when they have sent everything, and lose it where the connection closes before."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class BodyLimit:
    """Answers 413 to a body above the limit, announced or streamed.

    Args:
        app: the next one.
        max_bytes: largest body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        announced = int(length) if length.isdigit() else 0
        if announced > self._max_bytes:
            waits = headers.get(b"expect", b"").lower() == b"100-continue"
            if not waits and announced <= DRAIN_BYTES:
                await _drain(receive)
            await self._refuse(scope, receive, send)
        else:
            await self._count(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, but no more of its body than the limit."""
        exceeded = started = ended = False
        received = 0

        async def counted() -> Message:
            nonlocal received, exceeded, ended
            message = await receive()
            ended = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                exceeded = True
                raise _BodyTooLarge
            return message

        async def guarded(message: Message) -> None:
            nonlocal started
            if not exceeded or started:  # an answer to half a body is not sent
                started = True
                await send(message)

        try:
            await self._app(scope, counted, guarded)
        except _BodyTooLarge:
            pass
        finally:
            if exceeded and not started:
                if not ended:
                    await _drain(receive)
                await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = PayloadTooLargeError(
            f"the body is larger than {self._max_bytes} bytes (max_body_bytes); send it in parts"
        )
        await response(error, {"Connection": "close"})(scope, receive, send)


class Admission:
    """Answers 429 while as many requests as allowed are being answered; probes always pass.

    Args:
        app: the next one.
        max_requests: at a time, in this process.
    """

    def __init__(self, app: ASGIApp, max_requests: int) -> None:
        self._app = app
        self._max_requests = max_requests
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        if self._requests >= self._max_requests:
            error = TooManyRequestsError(
                f"{self._max_requests} requests are being answered (max_requests_in_flight); "
                "send this one again in a moment",
                retry_after_s=1,
            )
            await response(error)(scope, receive, send)
            return
        self._requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1


class RawPath:
    """Routes by the path as it was sent, so that %2F inside an id is no separator.

    Path parameters arrive percent-encoded; the field types of ids decode them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("raw_path"):
            scope["path"] = scope["raw_path"].decode("latin-1")
        await self._app(scope, receive, send)


class Stopwatch:
    """Observes how long each request took, by route template and status."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, clock_s: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._clock_s = clock_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = self._clock_s()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            labels = self._metrics.request_seconds.labels(method, route, str(status))
            labels.observe(self._clock_s() - started_s)


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


class _BodyTooLarge(Exception):  # noqa: N818 - a signal within this module
    """Unwinds the app once a body is too large."""
