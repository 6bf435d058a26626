"""What is sent and what is answered, as values.

Answers leave out fields that this client does not know, so that a newer service does not break it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Event:
    """What a user did."""

    user_id: str
    item_id: str
    value: float | None = None
    event: str | None = None
    timestamp: datetime | None = None
    """With its offset; None: now."""
    recommendation_id: str | None = None
    """Of the list that led to it."""
    event_id: str | None = None
    """Makes a repeat harmless; `calls.record` gives one to every event without."""


@dataclass(frozen=True, slots=True)
class SupportRow:
    """What a visitor did who is not stored."""

    item_id: str
    value: float | None = None
    event: str | None = None
    timestamp: datetime | None = None
    """With its offset; None: after the rows before it."""


class Reply(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Recorded(Reply):
    accepted: int
    """Events that were stored by the attempt that was answered."""
    duplicates: int
    """Events that were there before, those among them that an attempt without an answer stored."""
    unknown_items: int = 0
    """Events on items that are not in the catalogue; they are kept."""


class Reason(Reply):
    item_id: str
    contribution: float
    """The score minus the score without this item in the support."""


class RankedItem(Reply):
    item_id: str
    score: float
    reasons: tuple[Reason, ...] | None = None


class Adaptation(Reply):
    steps: int
    support_size: int
    skipped: int
    """Items of the support that are not in the catalogue."""


class Recommendations(Reply):
    recommendation_id: str
    """Send it with the events that follow from this list."""
    model_version: str
    strategy: str
    """adapted, prior, popular or stale."""
    degraded: bool
    """The state store was out of reach: the user's latest events may be missing."""
    items: tuple[RankedItem, ...]
    """Best first."""
    adaptation: Adaptation


class SimilarItems(Reply):
    item_id: str
    items: tuple[RankedItem, ...]
    """Best first; the score is a cosine."""


class ItemsPut(Reply):
    accepted: int
    ignored: dict[str, list[str]]
    """By item, feature names that are no columns of the data set."""
    unknown_values: dict[str, dict[str, list[str]]]
    """By item and column, categories that training never saw."""


class Item(Reply):
    item_id: str
    features: dict[str, Any]
    trained: bool
    """Whether its vector was learned from interactions; else it comes from its features."""
    interactions: int
    """First interactions that have moved it; 0 where trained."""


class UserPut(Reply):
    user_id: str
    ignored: list[str]
    unknown_values: dict[str, list[str]]


class UserExport(Reply):
    """All that is kept about a user; the service decides the fields."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Erased(Reply):
    user_id: str
    erased: int
    """Entries that were removed by the attempt that was answered; none is left."""


class Merged(Reply):
    user_id: str
    merged: str
    """The user that is no more."""
    events: int
    features: list[str]


class Version(Reply):
    version: str
    role: str
    """active, previous, available or failed."""
    error: str | None = None


class Models(Reply):
    active: dict[str, Any]
    """Facts about the version that serves."""
    current: str | None = None
    versions: tuple[Version, ...]


class Promoted(Reply):
    version: str
    """What is current now."""
    previous: str | None = None
    promoted_at: str


class Ready(Reply):
    status: str
    model_version: str
    redis: str
    """ok or unavailable."""
