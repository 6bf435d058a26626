"""What is known of a user when a list is asked for, whether or not the store answers.

Knows nothing of models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsvc.errors import StateUnavailableError
from recsvc.recommender.known_users import KnownUsers
from recsvc.recommender.values import Query, SessionEvent
from recsvc.state.events import Event, UserSnapshot
from recsvc.state.store import StateStore


@dataclass(frozen=True, slots=True)
class KnownNow:
    """A user's stored events and features, as far as they can be had."""

    events: Sequence[Event | SessionEvent]
    """Oldest first."""
    features: Mapping[str, Any]
    """The request's over the stored ones."""
    snapshot: UserSnapshot | None
    """None where nothing was read from the store."""
    degraded: bool
    """The store did not answer: events and features may be old, or missing."""


class UserReader:
    """Reads users from the store, and from memory when the store is gone.

    Args:
        state: the store.
        known: what was read last; kept up here.
    """

    def __init__(self, state: StateStore, known: KnownUsers) -> None:
        self._state = state
        self._known = known

    async def read(self, query: Query, version: str) -> KnownNow:
        """What is known of the query's user; never fails because the store is gone.

        Args:
            query: names a user, or none.
            version: of the model whose adapted state is wanted.
        """
        given = dict(query.user_features or {})
        if query.user_id is None:
            return KnownNow((), given, None, degraded=False)
        try:
            snapshot = await self._state.read_user(query.user_id, version)
        except StateUnavailableError:
            known = self._known.get(query.user_id)
            if known is None:
                return KnownNow((), given, None, degraded=True)
            return KnownNow(known.events, {**(known.features or {}), **given}, None, degraded=True)
        self._known.put(query.user_id, snapshot.events, snapshot.features)
        features = {**(snapshot.features or {}), **given}
        return KnownNow(snapshot.events, features, snapshot, degraded=False)


def in_order(
    stored: Sequence[Event | SessionEvent], session: Sequence[SessionEvent], now_ms: int
) -> Sequence[Event | SessionEvent]:
    """Stored and session events, oldest first; of equal times the session's are newer.

    Args:
        stored: oldest first.
        session: in any order.
        now_ms: the time of session events that have none, or one that is still to come.
    """
    if not session:
        return stored

    def order_ms(event: Event | SessionEvent) -> int:
        if isinstance(event, Event):
            return event.order_ms
        return now_ms if event.timestamp_ms is None else min(event.timestamp_ms, now_ms)

    return sorted([*stored, *session], key=order_ms)
