"""Whether to send a failed call again, and after how long. Knows nothing of connections."""

import random
from dataclasses import dataclass

from recsvc.client.errors import ClientError


@dataclass(frozen=True, slots=True)
class Retries:
    """How stubborn a client is."""

    attempts: int = 4
    """How often a call is sent at most; 1: never again."""
    first_wait_s: float = 0.1
    """Wait after the first failure; it doubles with each further one."""
    longest_wait_s: float = 5.0
    """No wait is longer; where the service asks for more, the call fails at once."""

    def wait_s(self, failures: int, error: ClientError, rng: random.Random) -> float | None:
        """Seconds to wait before the next attempt; None: give up.

        Args:
            failures: of this call, at least 1.
            error: the last one.
            rng: spreads the waits of many clients over the upper half of each.
        """
        if failures >= self.attempts or not error.is_temporary:
            return None
        asked_s = error.retry_after_s or 0.0
        if asked_s > self.longest_wait_s:
            return None
        own_s = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failures - 1))
        return max(asked_s, own_s * rng.uniform(0.5, 1.0))
