"""What is stored about a user, as values, and how an event is written down.

Knows nothing of Redis. An event is stored once as JSON, the same bytes in the log and in the
support set, without the user id, which the key or the log entry already holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_TIMESTAMP_MS = 2**53 - 1
"""Redis keeps scores as doubles; beyond this a millisecond would be lost."""


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction of a user with an item."""

    user_id: str
    item_id: str
    event: str | None
    """Type of the interaction, as the data set names it."""
    value: float | None
    timestamp_ms: int
    """When it happened, milliseconds since 1970 UTC."""
    event_id: str
    """Unique within the user; a second event with the same id is dropped."""
    recommendation_id: str | None = None
    """The answer that led to it."""
    arrived_ms: int | None = None
    """When it arrived, where that was before its timestamp: its sender's clock is ahead."""

    @property
    def order_ms(self) -> int:
        """Where it stands among the user's events: no later than its arrival.

        So an event from the future neither outlives all others in the bounded support set nor has
        the last word on an item against what is sent after it.
        """
        return self.timestamp_ms if self.arrived_ms is None else self.arrived_ms


@dataclass(frozen=True, slots=True)
class UserSnapshot:
    """All that one read says about a user, from one moment."""

    revision: int
    """0 for an unknown user; grows with every change of events or features, never repeats."""
    events: tuple[Event, ...]
    """The bounded support set, oldest first: by `order_ms`, then by arrival."""
    features: dict[str, Any] | None
    """As they were put; None where they never were."""
    state: bytes | None
    """Adapted state for the asked model version at this revision; None: to be computed."""


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What became of the events of one append."""

    accepted: int
    duplicates: int
    firsts: int = field(default=0, compare=False)
    """Of the accepted events that count: those that are their user's first on the item."""


def dump_event(event: Event) -> bytes:
    """The stored form of an event."""
    fields: dict[str, Any] = {"item_id": event.item_id, "timestamp": event.timestamp_ms}
    for name in ("event", "value", "event_id", "recommendation_id", "arrived_ms"):
        value = getattr(event, name)
        if value is not None:
            fields[name] = value
    return orjson.dumps(fields)


def load_event(user_id: str, stored: bytes) -> Event:
    """The event that `dump_event` wrote."""
    fields = orjson.loads(stored)
    return Event(
        user_id=user_id,
        item_id=fields["item_id"],
        event=fields.get("event"),
        value=fields.get("value"),
        timestamp_ms=fields["timestamp"],
        event_id=fields["event_id"],
        recommendation_id=fields.get("recommendation_id"),
        arrived_ms=fields.get("arrived_ms"),
    )


def by_user(events: Sequence[Event], limit: int) -> Iterator[tuple[str, list[Event]]]:
    """(user id, at most `limit` of its events in the order given), until all events were given."""
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.user_id, []).append(event)
    for user_id, group in groups.items():
        for start in range(0, len(group), limit):
            yield user_id, group[start : start + limit]
