"""What is kept of who took an item, as values, and how the scripts write it down.

Knows nothing of connections.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from recsvc.contract.manifest import MAX_ITEM_USERS

_NUMBER_CHARS = 16
"""Of each of the two numbers before a record: of the change, and the count of positive events."""


@dataclass(frozen=True, slots=True)
class SupportChange:
    """Where an item's support stands."""

    first: int
    """Count of all positive events at the item's first one."""
    number: int
    """Of the change; grows with every change of any item."""
    users: int
    """How many count for the item; 0: the support is gone."""
    added: int
    """How many ever did; nobody is added once they are `MAX_ITEM_USERS`."""
    last: int
    """Count of all positive events when the last of these came."""

    @property
    def is_full(self) -> bool:
        """Whether nobody else will count for the item."""
        return self.added >= MAX_ITEM_USERS


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user who counts for an item (record), or no longer does (None)."""

    item_id: str
    user_id: str
    record: Mapping[str, Any] | None
    revision: int
    """Of the user, when this was made from their events: microseconds since 1970. What was made of
    newer ones stays."""
    of_bundle: bool = False
    """The item came with a model; else it must be among the run-time items."""


@dataclass(frozen=True, slots=True)
class SupportRead:
    """An item's support, from one moment."""

    change: SupportChange
    records: tuple[dict[str, Any], ...]
    """In the order in which they came."""
    counts: tuple[int, ...]
    """Count of all positive events when each came."""


def load_support(entry: bytes, records: Iterable[bytes]) -> SupportRead:
    """A support from its entry and its records in any order."""
    records = sorted(records)
    counts = [int(r[_NUMBER_CHARS : 2 * _NUMBER_CHARS]) for r in records]
    return SupportRead(load_change(entry), tuple(map(load_record, records)), tuple(counts))


def load_record(record: bytes) -> dict[str, Any]:
    """A record without the numbers before it."""
    parsed: dict[str, Any] = orjson.loads(record[2 * _NUMBER_CHARS :])
    return parsed


def load_change(entry: bytes) -> SupportChange:
    """An item's entry in the table and in the stream."""
    return SupportChange(*map(int, entry.split()))
