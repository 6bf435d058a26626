"""The two clients: they send calls, and send them again where that is harmless and may help."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import httpx

from recsvc.client.calls import Answer, Call
from recsvc.client.errors import ClientError, NoAnswerError
from recsvc.client.retries import Retries

TIMEOUT_S = 10.0


class Client:
    """Sends calls and waits for their answers. For any thread.

    Args:
        address: of the service, such as http://localhost:8000; may have a path.
        key: an API key; None: none is sent.
        timeout_s: for each of connecting, sending and reading, in one attempt.
        retries: how often and after how long to try again.
        transport: httpx's; None: the network.
        sleep: waits between attempts.
        rng: spreads the waits; None: seeded by the system.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        options = _options(address, key, timeout_s)
        self._http = httpx.Client(transport=transport, **options)
        self._retries = retries
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - no secret

    def send(self, call: Call[Answer]) -> Answer:
        """Send a call until it is answered, as often as `retries` says.

        Raises:
            ProblemError: the service says no.
            NoAnswerError: no answer came; it may have been done, and the same call may be sent
                again where it is `repeatable`.
            UnreadableAnswerError: the answer is not the service's.
        """
        failures = 0
        while True:
            try:
                return self._attempt(call)
            except ClientError as exc:
                failures += 1
                wait_s = self._retries.wait_s(failures, exc, self._rng)
                if wait_s is None or not call.repeatable:
                    raise
            self._sleep(wait_s)

    def _attempt(self, call: Call[Answer]) -> Answer:
        try:
            response = self._http.request(
                call.method, call.path, params=call.parameters, json=call.body
            )
        except httpx.RequestError as exc:
            raise NoAnswerError(exc) from exc
        return call.answer(response)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """The same for programs that await. For one event loop.

    Args:
        address: of the service, such as http://localhost:8000; may have a path.
        key: an API key; None: none is sent.
        timeout_s: for each of connecting, sending and reading, in one attempt.
        retries: how often and after how long to try again.
        transport: httpx's; None: the network.
        sleep: waits between attempts.
        rng: spreads the waits; None: seeded by the system.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        options = _options(address, key, timeout_s)
        self._http = httpx.AsyncClient(transport=transport, **options)
        self._retries = retries
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - no secret

    async def send(self, call: Call[Answer]) -> Answer:
        """Send a call until it is answered, as often as `retries` says.

        Raises:
            ProblemError: the service says no.
            NoAnswerError: no answer came; it may have been done, and the same call may be sent
                again where it is `repeatable`.
            UnreadableAnswerError: the answer is not the service's.
        """
        failures = 0
        while True:
            try:
                return await self._attempt(call)
            except ClientError as exc:
                failures += 1
                wait_s = self._retries.wait_s(failures, exc, self._rng)
                if wait_s is None or not call.repeatable:
                    raise
            await self._sleep(wait_s)

    async def _attempt(self, call: Call[Answer]) -> Answer:
        try:
            response = await self._http.request(
                call.method, call.path, params=call.parameters, json=call.body
            )
        except httpx.RequestError as exc:
            raise NoAnswerError(exc) from exc
        return call.answer(response)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _options(address: str, key: str | None, timeout_s: float) -> dict[str, Any]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return {"base_url": address, "headers": headers, "timeout": timeout_s}
