"""What is asked of the recommender and what it answers, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Strategy = Literal["adapted", "prior", "popular", "stale"]
"""adapted: the user's own events; prior: no events that move the model (dislikes alone do not move
every model), but features or a learned start; popular: nothing is known, so the item biases alone;
stale: the state store is gone, the list rests on the last events this process saw."""

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """An event that a request brings along; it is not stored."""

    item_id: str
    event: str | None = None
    value: float | None = None
    timestamp_ms: int | None = None
    """None: now."""


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a list."""

    k: int = 10
    user_id: str | None = None
    user_features: Mapping[str, Any] | None = None
    """Laid over the stored ones, column by column."""
    support: tuple[SessionEvent, ...] = ()
    """Events besides the stored ones; of equal times the later row is the newer."""
    candidates: tuple[str, ...] | None = None
    """Rank only these; unknown ones are left out."""
    exclude: tuple[str, ...] = ()
    exclude_seen: bool = True
    """Leave out the items of the user's events and of `support`."""
    filters: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    """Column to allowed values; all columns must match."""
    categories: tuple[str, ...] = ()
    """An item must have one of these in any of its categorical columns."""
    diversity: float = 0.0
    explore: int | None = None
    """Seed; None: no exploration."""
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """A support item and what it added to a score."""

    item_id: str
    contribution: float


@dataclass(frozen=True, slots=True)
class RankedItem:
    item_id: str
    score: float
    reasons: tuple[Reason, ...] | None = None
    """Strongest first; None where none were asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A list and where it came from."""

    recommendation_id: str
    model_version: str
    strategy: Strategy
    degraded: bool
    items: tuple[RankedItem, ...]
    steps: int
    support_size: int
    """Support rows that were adapted to."""
    skipped: int
    """Items of the support that the catalogue does not know."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of events."""

    accepted: int
    duplicates: int
    unknown_items: int
    """Events on items that the catalogue does not know (yet); they are kept all the same."""


@dataclass(frozen=True, slots=True)
class Unused:
    """What of some features is kept, but says nothing to the model."""

    columns: list[str]
    """Names that are no columns of the data set."""
    values: dict[str, list[str]]
    """Categories that training never saw, by column."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it is known now."""

    item_id: str
    features: dict[str, Any]
    trained: bool
    """Whether the model learned its vector from interactions; else it comes from its features."""
    interactions: int
    """First interactions that moved an untrained item's vector from what its features say."""
