"""Puts a rollout and an item feed together, so that every model knows every run-time item."""

from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from recsvc.bundle import Bundle, Device
from recsvc.contract.registry import Registry
from recsvc.recommender.items import Features, ItemFeed
from recsvc.recommender.model import ServingModel
from recsvc.rollout import Rollout
from recsvc.state.store import StateStore
from recsvc.telemetry import Metrics

_log = structlog.get_logger("recsvc.items")


def connect(
    registry: Registry,
    state: StateStore,
    poll_s: float,
    clock: Callable[[], datetime],
    metrics: Metrics,
    device: Device = "cpu",
) -> tuple[Rollout[ServingModel], ItemFeed]:
    """A rollout and an item feed that know each other.

    Items go to the model that serves; one that takes over first catches up with them.
    """

    def apply(model: ServingModel, items: Mapping[str, Features]) -> None:
        refused = model.apply(items)
        if refused:
            _log.warning("items do not fit the model", version=model.version, items=refused[:20])

    def prepare(bundle: Bundle) -> ServingModel:
        model = ServingModel(bundle, metrics)
        apply(model, dict(feed.items))
        return model

    def forward(items: Mapping[str, Features]) -> None:
        metrics.item_changes_applied.inc(len(items))
        if rollout.active is not None:
            apply(rollout.active.model, items)

    def install(model: ServingModel) -> None:
        apply(model, feed.items)

    feed = ItemFeed(state, forward)
    rollout = Rollout(registry, prepare, install, poll_s, clock, metrics, device)
    return rollout, feed
