"""A circuit breaker for one event loop: after enough failures, refuse at once instead of waiting.

Knows nothing of Redis. The clock is passed in.
"""

from collections.abc import Callable


class Breaker:
    """Closed: calls pass. Open: calls are refused. Half open: one probes, the rest are refused.

    Args:
        failures: consecutive failures that open it.
        reset_s: how long it stays open before a probe may pass.
        clock: monotonic seconds.
    """

    def __init__(self, failures: int, reset_s: float, clock: Callable[[], float]) -> None:
        self.reset_s = reset_s
        self._limit = failures
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether it refuses calls, a single probe aside."""
        return self._opened_at is not None

    def allow(self) -> bool:
        """Whether a call may be made now. Each True needs one `succeed`, `fail` or `abandon`."""
        if self._opened_at is None:
            return True
        if self._probing or self._clock() - self._opened_at < self.reset_s:
            return False
        self._probing = True
        return True

    def succeed(self) -> None:
        """The call came through."""
        self._failures = 0
        self._opened_at = None
        self._probing = False

    def fail(self) -> None:
        """The call failed; a failed probe opens it anew."""
        self._failures += 1
        if self._probing or self._failures >= self._limit:
            self._opened_at = self._clock()
        self._probing = False

    def abandon(self) -> None:
        """The call was cancelled and says nothing about the other side."""
        self._probing = False
