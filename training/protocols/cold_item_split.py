"""The split of protocol P2: which items are cold, what of them may be seen, whom to rank for.

Knows nothing of methods.

A fifth of the items with positives is cold: drawn at random, or the latest to appear. A fifth of
the warm interactions is held out too, at random: if cold items alone were relevant, inflating
every cold item would win. What remains is training. A cold item's first `window` positives are its
support (the first n of them at size n), those after the window are its query. The validation folds
repeat all this within the training interactions, before anything is fitted.

Shape legend: U users, N items, I cold items, E interactions, S support rows.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.datasets import Dataset, encode, fit_schema
from training.errors import DataError
from training.items.events import Events, Traffic, first_events, positive_events
from training.items.task import ColdItemData, ColdItemTask, ItemSupports
from training.tasks import Histories

SplitKind = Literal["random", "time"]
SUPPORT_SIZES = (0, 1, 3, 5, 10)
_COLD_SHARE = 0.2
_HELD_OUT_SHARE = 0.2
FOLDS: dict[SplitKind, int] = {"random": 5, "time": 2}
"""Validation folds of each kind of split."""
NESTED = 1_000_003
"""Added to the seed of validation folds, so that they are drawn anew."""


@dataclass(frozen=True)
class ColdItemSplit:
    """One seed's split: what methods may learn from, and what they are tested on."""

    data: ColdItemData
    test: ColdItemTask


def split_cold_items(dataset: Dataset, seed: int, kind: SplitKind) -> ColdItemSplit:
    """Split a data set for one seed.

    Args:
        dataset: the data set.
        seed: of the split; methods get it too.
        kind: "random" or "time".

    Raises:
        DataError: a split by time without timestamps, or no user with a cold item to rank for.
    """
    events = positive_events(dataset, np.random.default_rng([seed, 0]))
    if kind == "time" and events.time_E is None:
        raise DataError(
            f"{dataset.name}: --split time needs timestamps and there are none; use --split random"
        )
    train, cold, held_out = split_events(events, kind, seed, fold=0)
    folds = tuple(
        data_and_task(dataset, *split_events(train, kind, seed + NESTED, fold), (), seed)
        for fold in range(FOLDS[kind])
    )
    data, test = data_and_task(dataset, train, cold, held_out, folds, seed)
    for part, task in (("test", test), *(("validation", task) for _, task in folds)):
        if not len(task.users_U):
            raise DataError(
                f"{dataset.name}: no {part} user has a cold item after the first "
                f"{SUPPORT_SIZES[-1]} interactions of it; give more data"
            )
    return ColdItemSplit(data, test)


def split_events(
    events: Events, kind: SplitKind, seed: int, fold: int
) -> tuple[Events, Events, Events]:
    """Training events, those of cold items, and the held-out ones of warm items.

    Folds of one seed have different cold items.
    """
    cold_E = _cold_items(events, kind, np.random.default_rng([seed, 1]), fold)[events.item_E]
    chance_E = np.random.default_rng([seed, 2, fold]).random(len(cold_E))
    held_out_E = ~cold_E & (chance_E < _HELD_OUT_SHARE)
    train = events.take(~cold_E & ~held_out_E)
    # A warm item that lost all its events to the holdout is no candidate.
    known_E = np.bincount(train.item_E, minlength=train.n_items)[events.item_E] > 0
    return train, events.take(cold_E), events.take(held_out_E & known_E)


def _cold_items(
    events: Events, kind: SplitKind, rng: np.random.Generator, fold: int
) -> NDArray[np.bool_]:
    """One fifth of the items with events: at random, or the `fold`-latest fifth to appear."""
    # Events are in order of time, so an item's first one tells when it appeared.
    present, first = np.unique(events.item_E, return_index=True)
    order = rng.permutation(len(present)) if kind == "random" else np.argsort(-first, kind="stable")
    wanted = round(_COLD_SHARE * len(present))
    cold_N = np.zeros(events.n_items, dtype=np.bool_)
    cold_N[present[order[fold * wanted : (fold + 1) * wanted]]] = True
    return cold_N


def data_and_task(
    dataset: Dataset,
    train: Events,
    cold: Events,
    held_out: Events,
    folds: tuple[tuple[ColdItemData, ColdItemTask], ...],
    seed: int,
) -> tuple[ColdItemData, ColdItemTask]:
    clock = Traffic(train)
    warm_I = np.unique(train.item_E)
    warm_N = np.zeros(train.n_items, dtype=np.bool_)
    warm_N[warm_I] = True
    schema = fit_schema(dataset.items, dataset.config.item_columns, warm_N)
    data = ColdItemData(
        train=train.histories(),
        warm=first_events(train, warm_I, clock, SUPPORT_SIZES[-1]),
        item_features=encode(dataset.items, schema, dataset.n_items),
        item_schema=schema,
        sizes=SUPPORT_SIZES,
        visits=clock.total,
        folds=folds,
        seed=seed,
    )
    supports = first_events(cold, np.unique(cold.item_E), clock, SUPPORT_SIZES[-1])
    return data, _task(supports, cold, train, held_out)


def _task(supports: ItemSupports, cold: Events, train: Events, held_out: Events) -> ColdItemTask:
    window = supports.users_IS.shape[1]
    in_window_E = cold.rank_in_item() < window
    query, support = cold.take(~in_window_E), cold.take(in_window_E)
    users_U = np.unique(query.user_E)
    candidates_N = np.bincount(train.item_E, minlength=train.n_items) > 0
    candidates_N[supports.items_I] = True
    return ColdItemTask(
        supports,
        users_U,
        joined(train, support).take(users_U),
        joined(query, held_out).take(users_U),
        candidates_N,
    )


def joined(one: Events, other: Events) -> Histories:
    """The pairs of both by user; the order within a user means nothing."""
    users = np.concatenate([one.user_E, other.user_E])
    items = np.concatenate([one.item_E, other.item_E])
    return Events(users, items, None, one.n_users, one.n_items).histories()
