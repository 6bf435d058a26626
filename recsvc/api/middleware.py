"""What every request passes: the stopwatch, the end of the process, admission, the path as it was
sent.

Pure ASGI. Knows nothing of the routes.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsvc.api.problems import response
from recsvc.errors import TooManyRequestsError, UnavailableError
from recsvc.telemetry import Metrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Ending:
    """Answers 503 to a request that is given up because the process stops.

    Args:
        app: the next one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def watched(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:  # the server cancels what is open when its time is up
            if not is_started:
                error = UnavailableError(
                    "the service stopped before it could answer; send the request again"
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
