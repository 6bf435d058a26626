"""The use case: record what users do, and answer with lists that follow from it.

Composes the state store, the rollout and the models. Knows no HTTP. Reads never fail because the
store is gone: they rest on what this process read last, or on nothing, and say so. Writes never
pretend: they raise.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import structlog

from recsvc.adaptation import Floats
from recsvc.contract.errors import SchemaError
from recsvc.errors import (
    InvalidInputError,
    NotReadyError,
    StateUnavailableError,
    UserNotFoundError,
)
from recsvc.recommender.item_recorder import ItemRecorder
from recsvc.recommender.items import ItemFeed, parts
from recsvc.recommender.known_users import KnownUsers
from recsvc.recommender.model import ServingModel, UserView, item_not_found
from recsvc.recommender.users import KnownNow, UserReader, in_order
from recsvc.recommender.values import Answer, Item, Query, RankedItem, Recorded, Strategy, Unused
from recsvc.rollout import Rollout
from recsvc.state.events import Event
from recsvc.state.merging import MergeResult
from recsvc.state.store import StateStore
from recsvc.telemetry import Metrics

KEEP_STATE_ABOVE_S = 0.0005
"""Adapted states that took less to compute are not kept: asking the store again costs as much."""

LONG_CHARS = 2000
"""Text of this length in a user's features is encoded in a thread: it takes a millisecond."""

_log = structlog.get_logger("recsvc.recommender")


class Recommender:
    """Everything the service does.

    Args:
        rollout: which model serves.
        state: users and run-time items.
        feed: run-time items as they are known here.
        recorder: told of what moves items.
        known: users to fall back on.
        clock: the time now, UTC.
        new_id: makes ids for answers.
        metrics: counts degraded answers.
        timer_s: seconds, to tell what a state cost.
        keep_above_s: states that cost more are kept in the store.
    """

    def __init__(
        self,
        rollout: Rollout[ServingModel],
        state: StateStore,
        feed: ItemFeed,
        recorder: ItemRecorder,
        known: KnownUsers,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        metrics: Metrics,
        timer_s: Callable[[], float] = time.perf_counter,
        keep_above_s: float = KEEP_STATE_ABOVE_S,
    ) -> None:
        self.rollout = rollout
        self._state = state
        self._feed = feed
        self._recorder = recorder
        self._known = known
        self._users = UserReader(state, known)
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self._timer_s = timer_s
        self._keep_above_s = keep_above_s

    @property
    def model(self) -> ServingModel:
        """The model that serves.

        Raises:
            NotReadyError: none does yet.
        """
        if self.rollout.active is None:
            raise NotReadyError("no model is loaded yet", retry_after_s=1)
        return self.rollout.active.model

    async def recommend(self, query: Query) -> Answer:
        """Adapt to what is known of the user and rank the catalogue.

        Raises:
            InvalidInputError: a feature or a filter is wrong.
            NotReadyError: no model is loaded.
        """
        model = self.model
        user = await self._users.read(query, model.version)
        view = model.view(in_order(user.events, query.support, self._now_ms()))
        if query.user_id is not None and not (query.support or user.degraded):
            self._recorder.note_view(model, query.user_id, view)
        prior_D = await self._prior(model, user.features, query)
        state_P = await self._state_of(model, query, user, view, prior_D)
        rows, scores_N = model.rank(query, view, state_P)
        reasons = model.reasons(rows, view, prior_D, state_P) if query.explain else None
        adapted = model.has_adapted(view, prior_D, state_P)
        if user.degraded:
            self._metrics.degraded_answers.inc()
        return Answer(
            recommendation_id=self._new_id(),
            model_version=model.version,
            strategy=_strategy(user, prior_D, adapted=adapted),
            degraded=user.degraded,
            items=model.present(rows, scores_N, reasons),
            steps=model.manifest.adaptation.steps if adapted else 0,
            support_size=len(view) if adapted else 0,
            skipped=view.skipped,
        )

    def similar(self, item_id: str, k: int) -> tuple[RankedItem, ...]:
        """Items like this one. See `ServingModel.similar`."""
        return self.model.similar(item_id, k)

    async def record(self, events: Sequence[Event]) -> Recorded:
        """Store events; they are durable when this returns.

        Raises:
            StateUnavailableError: they may or may not be stored; repeat with the same ids.
        """
        result = await self._state.append(events, self._recorder.counts)
        self._recorder.note_events(events, result.firsts)
        row_of = self.rollout.active.model.catalogue.row if self.rollout.active else _nothing
        unknown = sum(row_of(e.item_id) is None for e in events)
        return Recorded(result.accepted, result.duplicates, unknown)

    async def put_items(self, items: Mapping[str, dict[str, Any]]) -> dict[str, Unused]:
        """Add or change items; recommendable here at once, on other replicas within a second.

        Returns:
            For each item what of its features has no effect.

        Raises:
            InvalidInputError: a feature is wrong; nothing was stored.
            StateUnavailableError: they may or may not be stored; repeating is safe.
        """
        unused: dict[str, Unused] = {}
        model = self.model
        for part in parts(items):
            async with self._feed.turn:
                unused |= await asyncio.to_thread(_unused, model, part)
        await self._state.put_items(items)
        await self._feed.note(list(items.items()))
        return unused

    async def hide_item(self, item_id: str) -> None:
        """Leave an item out of every answer from now on.

        Raises:
            ItemNotFoundError: there is no such item.
            StateUnavailableError: it may or may not be hidden; repeating is safe.
        """
        if self.model.catalogue.row(item_id) is None and item_id not in self._feed.items:
            raise item_not_found(item_id)
        await self._state.put_items({item_id: None})
        await self._feed.note([(item_id, None)])

    def item(self, item_id: str) -> Item:
        """An item as it is known now.

        Raises:
            ItemNotFoundError: there is no such item.
        """
        catalogue = self.model.catalogue
        row = catalogue.row(item_id)
        if row is None:
            raise item_not_found(item_id)
        adapted = self.model.adapted.get(item_id)
        return Item(
            item_id,
            catalogue.features(row),
            trained=row < catalogue.n_trained,
            interactions=adapted.interactions if adapted else 0,
        )

    async def put_user(self, user_id: str, features: dict[str, Any]) -> Unused:
        """Replace a user's features.

        Returns:
            What of them has no effect.

        Raises:
            InvalidInputError: a feature is wrong; nothing was stored.
            StateUnavailableError: they may or may not be stored; repeating is safe.
        """
        model = self.model
        try:
            await _prior_of(model, features)
        except SchemaError as exc:
            raise InvalidInputError(str(exc)) from exc
        await self._state.put_user_features(user_id, features)
        schema = model.manifest.dataset.user_features
        return Unused(sorted(set(features) - set(schema.names)), schema.unknown(features))

    async def export_user(self, user_id: str) -> dict[str, Any]:
        """All that is kept about a user.

        Raises:
            UserNotFoundError: nothing is.
            StateUnavailableError: the store does not answer.
        """
        kept = await self._state.export_user(user_id)
        if kept is None:
            raise UserNotFoundError(f"nothing is kept about user {user_id!r}")
        return kept

    async def erase_user(self, user_id: str) -> int:
        """Delete all that is kept about a user, and check that it is gone.

        Returns:
            How many entries were removed.

        Raises:
            StateUnavailableError: it may be half done; repeat it.
        """
        self._known.forget(user_id)
        removed = await self._state.erase_user(user_id)
        self._known.forget(user_id)  # a read that ran meanwhile may have put them back
        return removed

    async def merge_users(self, target: str, source: str) -> MergeResult:
        """Make a source's events and features the target's, and erase the source.

        Raises:
            InvalidInputError: the two are one.
            UserNotFoundError: nothing is kept about the source, nor was it merged before.
            ConflictError: one of them was merged into another user.
            StateUnavailableError: it may be half done; repeat it.
        """
        self._known.forget(source)
        result = await self._state.merge_users(target, source)
        self._known.forget(source)  # a read that ran meanwhile may have put them back
        self._recorder.note(target, result.items)
        return result

    async def _prior(
        self, model: ServingModel, features: Mapping[str, Any], query: Query
    ) -> Floats:
        try:
            return await _prior_of(model, features)
        except SchemaError as exc:
            if query.user_features:
                raise InvalidInputError(str(exc)) from exc
            # Stored under another model whose columns were of other kinds.
            _log.warning("stored user features do not fit the model", error=str(exc))
            return model.prior({})

    async def _state_of(
        self, model: ServingModel, query: Query, user: KnownNow, view: UserView, prior_D: Floats
    ) -> Floats:
        """The adapted state: from the store where it is there, else computed, and kept if dear."""
        snapshot = user.snapshot
        if snapshot is None or query.support or query.user_features or not len(view):
            return model.adapt(prior_D, view)
        if not model.is_cacheable(view):
            return model.adapt(prior_D, view)
        if snapshot.state is not None:
            stored_P = np.frombuffer(snapshot.state, dtype=np.float32)
            if len(stored_P) == model.manifest.adaptation.state_dims:
                return stored_P
        started_s = self._timer_s()
        state_P = model.adapt(prior_D, view)
        if self._timer_s() - started_s > self._keep_above_s:
            await self._keep(query.user_id, model.version, snapshot.revision, state_P)
        return state_P

    async def _keep(
        self, user_id: str | None, version: str, revision: int, state_P: Floats
    ) -> None:
        assert user_id is not None
        try:
            await self._state.write_state(user_id, version, revision, state_P.tobytes())
        except StateUnavailableError as exc:
            _log.warning("adapted state not kept", error=str(exc))

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)


async def _prior_of(model: ServingModel, features: Mapping[str, Any]) -> Floats:
    """Where a user with these features starts; the event loop goes on while long text is read."""
    if sum(len(v) for v in features.values() if isinstance(v, str)) < LONG_CHARS:
        return model.prior(features)
    return await asyncio.to_thread(model.prior, features)


def _unused(model: ServingModel, items: Mapping[str, dict[str, Any]]) -> dict[str, Unused]:
    """What of some items' features has no effect; raises where one is wrong."""
    unused = {}
    schema = model.manifest.dataset.item_features
    for item_id, features in items.items():
        try:
            unused[item_id] = Unused(model.catalogue.check(features), schema.unknown(features))
        except SchemaError as exc:
            raise InvalidInputError(f"item {item_id!r}: {exc}") from exc
    return unused


def _strategy(user: KnownNow, prior_D: Floats, *, adapted: bool) -> Strategy:
    if adapted:
        return "stale" if user.degraded and user.events else "adapted"
    return "prior" if prior_D.any() else "popular"


def _nothing(item_id: str) -> None:  # noqa: ARG001 - stands in for a catalogue's `row`
    return None
