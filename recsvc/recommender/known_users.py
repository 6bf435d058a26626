"""The last users this process read, to answer from when the state store is gone.

Bounded by rows and by age, so that it neither grows with traffic nor outlives an erasure for long.
Kept as tuples of plain values: the garbage collector lets go of those, where tens of thousands of
objects would make each of its full collections a pause of many milliseconds. Knows nothing of
models.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import orjson

from recsvc.state.events import Event

MAX_ROWS = 50_000
MAX_AGE_S = 300.0


_plain = attrgetter(*(field.name for field in fields(Event)))
"""An event's fields, in order."""
_Row = tuple[tuple[Any, ...], bytes, float]
"""Events as tuples, features as JSON, and when they were read."""


@dataclass(frozen=True, slots=True)
class KnownUser:
    """What was last read about a user."""

    events: tuple[Event, ...]
    """Oldest first."""
    features: dict[str, Any] | None


class KnownUsers:
    """A cache of users, least recently read first.

    Args:
        clock_s: monotonic seconds.
        max_rows: events of all users together; a user counts as one more.
        max_age_s: older entries are never given out, and dropped when others come.
    """

    def __init__(
        self,
        clock_s: Callable[[], float],
        max_rows: int = MAX_ROWS,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self._clock_s = clock_s
        self._max_rows = max_rows
        self._max_age_s = max_age_s
        self._users: OrderedDict[str, _Row] = OrderedDict()
        self._rows = 0

    def __len__(self) -> int:
        return len(self._users)

    def put(self, user_id: str, events: Sequence[Event], features: dict[str, Any] | None) -> None:
        """Remember what was just read."""
        self.forget(user_id)
        self._users[user_id] = (
            tuple(map(_plain, events)),
            orjson.dumps(features),
            self._clock_s(),
        )
        self._rows += 1 + len(events)
        oldest = self._clock_s() - self._max_age_s
        while self._rows > self._max_rows or next(iter(self._users.values()))[2] < oldest:
            self.forget(next(iter(self._users)))
            if not self._users:
                return

    def get(self, user_id: str) -> KnownUser | None:
        """What was last read, if that is not too long ago."""
        events, features, read_at_s = self._users.get(user_id, ((), b"null", -math.inf))
        if read_at_s < self._clock_s() - self._max_age_s:
            return None
        return KnownUser(tuple(Event(*plain) for plain in events), orjson.loads(features))

    def forget(self, user_id: str) -> None:
        """Drop a user."""
        known = self._users.pop(user_id, None)
        if known is not None:
            self._rows -= 1 + len(known[0])
