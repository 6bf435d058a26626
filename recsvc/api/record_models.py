"""The JSON about items, users, model versions and health. Knows nothing of how it is answered."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from recsvc.api.fields import MAX_ROWS, Features, Id
from recsvc.api.models import EXAMPLE_EVENT, Body, Reply


class ItemIn(Body):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"features": {"genres": ["Comedy"], "year": 1998}}]}
    )

    features: Features


class ItemPost(ItemIn):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"item_id": "new-1", "features": {"year": 1998}}]}
    )

    item_id: Id


class ItemsPost(Body):
    """One item, or many at once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"item_id": "new-1", "features": {"year": 1998}},
                {"items": [{"item_id": "new-2", "features": {"year": 1999}}]},
            ]
        }
    )

    item_id: Id | None = None
    features: Features | None = None
    items: Annotated[list[ItemPost], Field(max_length=MAX_ROWS, fail_fast=True)] | None = None

    @model_validator(mode="after")
    def _one_or_many(self) -> "ItemsPost":
        one = self.item_id is not None and self.features is not None
        none = self.item_id is None and self.features is None
        if not (one if self.items is None else none):
            raise ValueError('send either "item_id" and "features", or "items"')
        return self

    def by_id(self) -> dict[str, dict[str, Any]]:
        """Features by item id; of a repeated id the last one."""
        if self.items is not None:
            return {i.item_id: dict(i.features) for i in self.items}
        assert self.item_id is not None
        assert self.features is not None
        return {self.item_id: dict(self.features)}


class ItemsOut(Reply):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 1,
                    "ignored": {"new-1": ["colour"]},
                    "unknown_values": {"new-1": {"genres": ["Comdy"]}},
                }
            ]
        },
    )

    accepted: int
    ignored: dict[str, list[str]]
    """Feature names by item that are no columns of the data set; kept, but without effect."""
    unknown_values: dict[str, dict[str, list[str]]]
    """Categories by item and column that training never saw; kept, and without effect until a
    model has learned them."""


class ItemView(Reply):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"item_id": "50", "features": {"year": 1977}, "trained": True, "interactions": 0}
            ]
        }
    )

    item_id: str
    features: dict[str, Any]
    trained: bool
    """Whether its vector was learned from interactions; else it comes from its features."""
    interactions: int
    """First interactions that have moved its vector from what its features say; 0 where trained."""


class UserIn(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"features": {"age": 31}}]})

    features: Features


class UserOut(Reply):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"user_id": "u-42", "ignored": [], "unknown_values": {"city": ["Pariss"]}}]
        },
    )

    user_id: str
    ignored: list[str]
    """Feature names that are no columns of the data set; kept, but without effect."""
    unknown_values: dict[str, list[str]]
    """Categories by column that training never saw; kept, and without effect until a model has
    learned them."""


class UserExport(Reply):
    """All that is kept about a user."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"user_id": "u-42", "events": [EXAMPLE_EVENT]}]},
    )


class Merged(Reply):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "u-42", "merged": "visitor-7", "events": 3, "features": ["age"]}
            ]
        },
    )

    user_id: str
    merged: str
    """The user that is no more."""
    events: int
    """Events that moved in this call; 0 where an earlier one had moved them."""
    features: list[str]
    """Features that moved: those that the user did not have."""


class Erased(Reply):
    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": "u-42", "erased": 7}]})

    user_id: str
    erased: int
    """Entries that were removed; none of them is left."""


class VersionOut(Reply):
    version: str
    role: Literal["active", "previous", "available", "failed"]
    error: str | None = None


class ActiveModel(Reply):
    version: str
    created_at: str
    loaded_at: str
    dataset: str
    users: int
    items: int
    """Items that can be recommended now, added ones included."""
    algorithm: str
    dims: int
    steps: int


class ModelsOut(Reply):
    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "active": {
                        "version": "20260131T120000.000000Z",
                        "created_at": "2026-01-31T12:00:00+00:00",
                        "loaded_at": "2026-01-31T12:00:05+00:00",
                        "dataset": "movielens-100k",
                        "users": 943,
                        "items": 1682,
                        "algorithm": "maml",
                        "dims": 64,
                        "steps": 2,
                    },
                    "current": "20260131T120000.000000Z",
                    "versions": [{"version": "20260131T120000.000000Z", "role": "active"}],
                }
            ]
        },
    )

    active: ActiveModel
    current: str | None
    """What the registry points at; differs from the active one while it loads or fails."""
    versions: list[VersionOut]
    registry_error: str | None = None


class Promoted(Reply):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "version": "20260131T120000.000000Z",
                    "previous": "20260130T120000.000000Z",
                    "promoted_at": "2026-01-31T12:00:00+00:00",
                }
            ]
        },
    )

    version: str
    """What is current now."""
    previous: str | None
    """What a rollback would bring back."""
    promoted_at: str


class Alive(Reply):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "alive"}]})

    status: Literal["alive"] = "alive"


class Ready(Reply):
    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [{"status": "ready", "model_version": "20260131T120000Z", "redis": "ok"}]
        },
    )

    status: Literal["ready"] = "ready"
    model_version: str
    redis: Literal["ok", "unavailable"]
    """Unavailable: lists are degraded and writes are refused, but the service answers."""
