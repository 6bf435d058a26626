"""The operations of the service as values that a client sends.

A call says all of a request, event ids included, so that sending it again is the same request.
Knows nothing of connections, waiting or repeating.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from recsvc.client.errors import UnreadableAnswerError, problem_of
from recsvc.client.models import (
    Erased,
    Event,
    Item,
    ItemsPut,
    Merged,
    Models,
    Promoted,
    Ready,
    Recommendations,
    Recorded,
    Reply,
    SimilarItems,
    SupportRow,
    UserExport,
    UserPut,
)

Answer = TypeVar("Answer", bound=Reply | None)
Features = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One request, and what its answer is."""

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    """Makes the value of an answer below 300."""
    parameters: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    repeatable: bool = True
    """Whether a second time changes nothing that the first one did not."""

    def answer(self, response: httpx.Response) -> Answer:
        """The value of an answer.

        Raises:
            ProblemError: it says no.
            UnreadableAnswerError: it is not the service's.
        """
        if response.status_code >= 300:
            raise problem_of(response)
        try:
            return self.read(response)
        except ValidationError as exc:
            raise UnreadableAnswerError(
                f"{self.method} {self.path} was answered {response.status_code} with "
                f"{response.text[:200]!r}, which is not the service's; is its address right?"
            ) from exc


def record(
    events: Iterable[Event], new_id: Callable[[], str] = lambda: uuid.uuid4().hex
) -> Call[Recorded]:
    """Store events; durable once answered. Events without an id get one here, once.

    Args:
        events: at most as many as the service takes in one call (10,000 unless set otherwise).
        new_id: makes ids.

    Raises:
        ValueError: a timestamp has no offset.
    """
    rows = [e if e.event_id is not None else replace(e, event_id=new_id()) for e in events]
    return Call("POST", "/v1/events", _reads(Recorded), body={"events": _rows(rows)})


def recommendations(
    user_id: str,
    *,
    k: int = 10,
    exclude_seen: bool = True,
    category: Sequence[str] = (),
    diversity: float = 0.0,
    explore: int | None = None,
    explain: bool = False,
) -> Call[Recommendations]:
    """A stored user's list; an unknown user is a new one."""
    parameters = {
        "k": k,
        "exclude_seen": exclude_seen,
        "category": list(category),
        "diversity": diversity,
        "explain": explain,
        **({} if explore is None else {"explore": explore}),
    }
    path = f"/v1/users/{_segment(user_id)}/recommendations"
    return Call("GET", path, _reads(Recommendations), parameters)


def rank(
    support: Iterable[SupportRow] = (),
    *,
    user_id: str | None = None,
    user_features: Features | None = None,
    k: int = 10,
    candidates: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    exclude_seen: bool = True,
    filters: Features | None = None,
    diversity: float = 0.0,
    explore: int | None = None,
    explain: bool = False,
) -> Call[Recommendations]:
    """A list for a session or a visitor, on top of the user's events if named; nothing is stored.

    Raises:
        ValueError: a timestamp has no offset.
    """
    body = {
        "support": _rows(support),
        "user_id": user_id,
        "user_features": None if user_features is None else dict(user_features),
        "k": k,
        "candidates": None if candidates is None else list(candidates),
        "exclude": list(exclude),
        "exclude_seen": exclude_seen,
        "filter": dict(filters or {}),
        "diversity": diversity,
        "explore": explore,
        "explain": explain,
    }
    return Call("POST", "/v1/recommendations", _reads(Recommendations), body=_given(body))


def similar(item_id: str, k: int = 10) -> Call[SimilarItems]:
    """Items like this one."""
    path = f"/v1/items/{_segment(item_id)}/similar"
    return Call("GET", path, _reads(SimilarItems), {"k": k})


def put_item(item_id: str, features: Features) -> Call[ItemsPut]:
    """Add or change an item."""
    path = f"/v1/items/{_segment(item_id)}"
    return Call("PUT", path, _reads(ItemsPut), body={"features": dict(features)})


def put_items(items: Mapping[str, Features]) -> Call[ItemsPut]:
    """Add or change many: features by id. A wrong one refuses them all."""
    rows = [{"item_id": item_id, "features": dict(f)} for item_id, f in items.items()]
    return Call("POST", "/v1/items", _reads(ItemsPut), body={"items": rows})


def item(item_id: str) -> Call[Item]:
    """An item as it is known now."""
    return Call("GET", f"/v1/items/{_segment(item_id)}", _reads(Item))


def hide_item(item_id: str) -> Call[None]:
    """Leave an item out of every answer."""
    return Call("DELETE", f"/v1/items/{_segment(item_id)}", _nothing)


def put_user(user_id: str, features: Features) -> Call[UserPut]:
    """Set a user's features."""
    path = f"/v1/users/{_segment(user_id)}"
    return Call("PUT", path, _reads(UserPut), body={"features": dict(features)})


def export_user(user_id: str) -> Call[UserExport]:
    """All that is kept about a user."""
    return Call("GET", f"/v1/users/{_segment(user_id)}", _reads(UserExport))


def erase_user(user_id: str) -> Call[Erased]:
    """Erase a user."""
    return Call("DELETE", f"/v1/users/{_segment(user_id)}", _reads(Erased))


def merge_users(target: str, source: str) -> Call[Merged]:
    """Make a source's events and features the target's, and erase the source."""
    path = f"/v1/users/{_segment(target)}/merge/{_segment(source)}"
    return Call("POST", path, _reads(Merged))


def models() -> Call[Models]:
    """The versions, and which one serves."""
    return Call("GET", "/v1/models", _reads(Models))


def activate_model(version: str) -> Call[Promoted]:
    """Put a version to work."""
    return Call("POST", f"/v1/models/{_segment(version)}/activate", _reads(Promoted))


def roll_back_model() -> Call[Promoted]:
    """Put the version before to work again; never sent twice, for a repeat undoes it."""
    return Call("POST", "/v1/models/rollback", _reads(Promoted), repeatable=False)


def ready() -> Call[Ready]:
    """Whether the service answers."""
    return Call("GET", "/readyz", _reads(Ready))


Model = TypeVar("Model", bound=Reply)


def _reads(model: type[Model]) -> Callable[[httpx.Response], Model]:
    return lambda response: model.model_validate_json(response.content)


def _nothing(response: httpx.Response) -> None:  # noqa: ARG001 - a reader's signature
    return None


def _segment(text: str) -> str:
    """An id as one segment of a path; "." and ".." would be taken for directories."""
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def _rows(rows: Iterable[Event | SupportRow]) -> list[dict[str, Any]]:
    return [_given({k: _plain(v) for k, v in asdict(row).items()}) for row in rows]


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _plain(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError(f"timestamp {value.isoformat()} has no offset; give one, such as UTC")
    return value.isoformat()
