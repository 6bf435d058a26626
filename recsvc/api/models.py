"""The JSON of requests and answers, with examples. Knows nothing of how they are answered."""

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat

from recsvc.api.fields import (
    MAX_FILTER_COLUMNS,
    MAX_FILTER_VALUES,
    MAX_ID_CHARS,
    MAX_ROWS,
    EventType,
    Features,
    FilterText,
    FilterValue,
    Id,
    Int64,
    Timestamp,
)
from recsvc.recommender import Strategy

EXAMPLE_EVENT: dict[str, Any] = {"user_id": "u-42", "item_id": "50", "event": "rating", "value": 5}
EXAMPLE_ANSWER: dict[str, Any] = {
    "recommendation_id": "0f8fad5bd9cb469fa16570867728950e",
    "model_version": "20260131T120000.000000Z",
    "strategy": "adapted",
    "degraded": False,
    "items": [
        {
            "item_id": "181",
            "score": 2.71,
            "reasons": [{"item_id": "50", "contribution": 0.83}],
        }
    ],
    "adaptation": {"steps": 2, "support_size": 1, "skipped": 0},
}


Value = Annotated[FiniteFloat | None, Field(validation_alias=AliasChoices("value", "rating"))]
"""A rating or another number; `rating`, as data sets call it, is the same field."""


class Row(BaseModel):
    """Part of a body. Nothing is taken for what it is not: true is no number, "5" is none either.

    Other fields are ignored, so that log lines can be sent as they are.
    """

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)


class Body(Row):
    """A body in which an unknown field is a mistake, not something to drop silently."""

    model_config = ConfigDict(extra="forbid")


class Reply(BaseModel):
    """Part of an answer; what stands under a field describes it in OpenAPI."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class EventIn(Row):
    """One interaction. Other fields are ignored, so that log lines can be sent as they are."""

    event_id: Id | None = None
    """Makes a repeat harmless; generated where it is left out."""
    user_id: Id
    item_id: Id
    event: EventType | None = None
    value: Value = None
    timestamp: Timestamp | None = None
    """Ahead of its arrival (a clock that is off) by at most a day; it then counts as of now."""
    recommendation_id: Id | None = None


class EventsIn(Body):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"events": [{"event_id": "e-1", **EXAMPLE_EVENT}]}]}
    )

    events: Annotated[list[EventIn], Field(max_length=MAX_ROWS, fail_fast=True)]


class EventsOut(Reply):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"accepted": 1, "duplicates": 0}]},
    )

    accepted: int
    """Events that were stored now."""
    duplicates: int
    """Events that had been stored before: the same user and `event_id`."""
    unknown_items: int | None = None
    """Events on items that are not in the catalogue, where there are any; they are kept, for the
    items may be added later."""


class SupportRow(Row):
    """An event of the request's own user. Other fields are ignored."""

    item_id: Id
    value: Value = None
    event: EventType | None = None
    timestamp: Timestamp | None = None


class RecommendIn(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"support": [{"item_id": "50", "value": 5}, {"item_id": "172"}], "k": 10},
                {"user_id": "u-42", "candidates": ["1", "2", "3"], "k": 3, "explain": True},
                {"user_features": {"age": 31}, "filter": {"genres": ["Comedy"]}, "diversity": 0.3},
            ]
        }
    )

    user_id: Id | None = None
    """Adds the user's stored events and features."""
    user_features: Features | None = None
    support: Annotated[list[SupportRow], Field(max_length=MAX_ROWS, fail_fast=True)] | None = None
    """A session or an anonymous visitor; nothing of it is stored. Later rows are newer."""
    k: Annotated[int, Field(ge=1)] = 10
    candidates: Annotated[list[Id], Field(max_length=MAX_ROWS, fail_fast=True)] | None = None
    """Rank just these."""
    exclude: Annotated[list[Id], Field(max_length=MAX_ROWS, fail_fast=True)] = []
    exclude_seen: bool = True
    """Leave out the items of the support and of the user's events."""
    filter: Annotated[
        dict[
            Annotated[str, Field(max_length=MAX_ID_CHARS)],
            FilterValue,
        ],
        Field(max_length=MAX_FILTER_COLUMNS),
    ] = {}
    """Item column (at most 32) to the value, or the at most 100 values, of which it must have
    one."""
    diversity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    explore: Annotated[Int64, Field(ge=0)] | None = None
    """Seed of a random list; without it the answer is deterministic."""
    explain: bool = False


class ListParameters(BaseModel):
    """Query parameters of a stored user's list."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    k: Annotated[int, Field(ge=1, examples=[10])] = 10
    """Longest list; shorter where fewer items are left."""
    exclude_seen: Annotated[bool, Field(examples=[True])] = True
    """Leave out the items of the user's events."""
    category: Annotated[
        list[FilterText], Field(max_length=MAX_FILTER_VALUES, examples=[["Comedy"]])
    ] = []
    """Only items with this value in any categorical column; repeatable (or)."""
    explain: Annotated[bool, Field(examples=[True])] = False
    """Say of each item which of the user's items it comes from."""
    diversity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, examples=[0.3])] = 0.0
    """0: by score alone; towards 1 the items differ more from one another."""
    explore: Annotated[int | None, Field(ge=0, lt=2**63, examples=[7])] = None
    """Seed of a random list; without it the answer is deterministic."""


class ReasonOut(Reply):
    item_id: str
    contribution: float
    """The score minus the score without this item in the support."""


class ItemOut(Reply):
    item_id: str
    score: float
    reasons: list[ReasonOut] | None = None


class AdaptationOut(Reply):
    steps: int
    support_size: int
    """Rows adapted to; 0 where they changed nothing, as dislikes alone may."""
    skipped: int
    """Items of the support that are not in the catalogue."""


class RecommendOut(Reply):
    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ANSWER]})

    recommendation_id: str
    """Send it with the events that follow from this list."""
    model_version: str
    strategy: Strategy
    degraded: bool
    """The state store was out of reach: the user's latest events may be missing."""
    items: list[ItemOut]
    adaptation: AdaptationOut


class SimilarOut(Reply):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"item_id": "50", "items": [{"item_id": "181", "score": 0.93}]}]
        }
    )

    item_id: str
    items: list[ItemOut]
    """Best first; the score is the cosine of the item vectors."""


class ProblemOut(Reply):
    """RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:recsvc:problem:invalid-input",
                    "title": "A field of the request is wrong",
                    "status": 422,
                    "detail": "k=0: Input should be greater than or equal to 1",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None
