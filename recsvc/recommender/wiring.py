"""Puts a rollout together with what follows items, so that every model knows every run-time item
and moves it by its first interactions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog

from recsvc.bundle import Bundle, Device
from recsvc.contract.registry import Registry
from recsvc.recommender.item_adapter import ItemAdapter
from recsvc.recommender.item_recorder import ItemRecorder
from recsvc.recommender.items import Features, ItemFeed, parts
from recsvc.recommender.model import ServingModel
from recsvc.rollout import Rollout
from recsvc.state.store import StateStore
from recsvc.telemetry import Metrics

_log = structlog.get_logger("recsvc.items")


class Connected(NamedTuple):
    """Parts that know each other."""

    rollout: Rollout[ServingModel]
    feed: ItemFeed
    recorder: ItemRecorder
    adapter: ItemAdapter


def connect(
    registry: Registry,
    state: StateStore,
    poll_s: float,
    clock: Callable[[], datetime],
    metrics: Metrics,
    device: Device = "cpu",
) -> Connected:
    """A rollout, and what keeps its models' items as they are now.

    Items go to the model that serves; one that takes over first catches up with them.
    """

    def serving() -> ServingModel | None:
        return rollout.active.model if rollout.active is not None else None

    def note_refused(model: ServingModel, refused: Sequence[str]) -> None:
        if refused:
            _log.warning("items do not fit the model", version=model.version, items=refused[:20])

    async def put(model: ServingModel, items: Mapping[str, Features]) -> None:
        contents = await asyncio.to_thread(model.catalogue.encode, items)
        note_refused(model, model.apply(items, contents))

    def prepare(bundle: Bundle) -> ServingModel:
        model = ServingModel(bundle, metrics)
        note_refused(model, model.apply(dict(feed.items)))
        return model

    async def bring_up(model: ServingModel) -> None:
        for part in parts(model.missing(feed.items)):
            async with feed.turn:
                await put(model, part)
        await adapter.bring_up(model)

    async def forward(items: Mapping[str, Features]) -> None:
        metrics.item_changes_applied.inc(len(items))
        if rollout.active is not None:
            await put(rollout.active.model, items)
            adapter.mark(items)

    def install(model: ServingModel) -> None:
        note_refused(model, model.apply(feed.items))
        adapter.install(model)

    feed = ItemFeed(state, forward)
    adapter = ItemAdapter(state, serving, metrics)
    recorder = ItemRecorder(state, serving, adapter.supports, metrics)
    rollout = Rollout(registry, prepare, bring_up, install, poll_s, clock, metrics, device)
    return Connected(rollout, feed, recorder, adapter)
