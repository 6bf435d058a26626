"""Where some items are to be moved by what is kept of who took them: one model, no waiting.

Knows nothing of Redis, nor of when items are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsvc.adaptation import Floats
from recsvc.item_adaptation import TakenItem, adapt_items, rounded_exposure
from recsvc.recommender.item_records import Record, speaks, user_states
from recsvc.recommender.model import Adapted, ServingModel
from recsvc.state.support_entries import SupportRead


@dataclass(frozen=True, slots=True)
class Work:
    """An item that is to be moved."""

    item_id: str
    row: int
    prior: tuple[Floats, np.float32]
    """Vector (D,) and bias that the item's content says."""
    records: tuple[Record, ...]
    """Of its first users, in the order in which they came."""
    adapted: Adapted
    """What it will have been moved by."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An item's support as a model takes it."""

    records: tuple[Record, ...]
    """Those that are positive to the model, at most its max_support."""
    interactions: int
    """How many are positive to the model."""
    exposure: int
    """Positive events of all users on trained items since the item's first one, and its own."""
    is_final: bool
    """Whether the exposure grows no more."""


def hear(model: ServingModel, read: SupportRead, positives: int) -> Heard:
    """Take a support as a model takes it.

    Nobody knows who took the item after the last user that counts, so its exposure ends there:
    counted on, it would sink the item that everybody takes.

    Args:
        model: that adapts items.
        read: the support.
        positives: the count of positive events now.
    """
    spec = model.manifest.item_adaptation
    assert spec is not None, "the model adapts no items. This is a bug."
    rules = model.manifest.dataset.rules
    pairs = zip(read.records, read.counts, strict=True)
    heard = [(record, count) for record, count in pairs if speaks(record, rules)]
    first = heard[: spec.max_support]
    until = positives
    if len(first) == spec.max_support:
        until = first[-1][1]
    elif read.change.is_full:
        until = read.change.last
    records = tuple(record for record, _ in first)
    exposure = max(until - read.change.first + len(records), 1)
    return Heard(records, len(heard), exposure, is_final=until != positives)


def adapted_by(heard: Heard, read: SupportRead) -> Adapted:
    """What a support will have moved its item by."""
    return Adapted(read.change.number, rounded_exposure(heard.exposure), heard.interactions)


def compute(model: ServingModel, works: Sequence[Work]) -> tuple[Floats, Floats]:
    """Vectors (B, D) and biases (B,) of some items; reads nothing that changes while it serves."""
    assert model.bundle.sample_users is not None, "the model adapts no items. This is a bug."
    states_RD, offset_R = user_states(model, [r for work in works for r in work.records])
    taken = []
    end = 0
    for work in works:
        own = slice(end, end := end + len(work.records))
        prior_D, bias = work.prior
        exposure = work.adapted.exposure
        taken.append(TakenItem(prior_D, float(bias), states_RD[own], offset_R[own], exposure))
    return adapt_items(model.bundle.graphs, model.bundle.sample_users, taken)
