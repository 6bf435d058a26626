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

from training.datasets import Dataset, encode, fit_schema, labels
from training.errors import DataError
from training.items.task import ColdItemData, ColdItemTask, ItemSupports
from training.tasks import PADDING, Histories, positives

SplitKind = Literal["random", "time"]
SUPPORT_SIZES = (0, 1, 3, 5, 10)
_COLD_SHARE = 0.2
_HELD_OUT_SHARE = 0.2
_DAY_MS = 86_400_000
FOLDS: dict[SplitKind, int] = {"random": 5, "time": 2}
"""Validation folds of each kind of split."""
NESTED = 1_000_003
"""Added to the seed of validation folds, so that they are drawn anew."""


@dataclass(frozen=True)
class Events:
    """Positive interactions in one order of time over all users, each pair once."""

    user_E: NDArray[np.int64]
    item_E: NDArray[np.int64]
    time_E: NDArray[np.int64] | None
    """Milliseconds; None where the data has no time, and the order is random."""
    n_users: int
    n_items: int

    def take(self, chosen_E: NDArray[np.bool_]) -> "Events":
        """Some of the events, in their order."""
        time = None if self.time_E is None else self.time_E[chosen_E]
        return Events(
            self.user_E[chosen_E], self.item_E[chosen_E], time, self.n_users, self.n_items
        )

    def rank_in_item(self) -> NDArray[np.int64]:
        """0 for an item's first event, 1 for its second, ... (E,)."""
        order = np.argsort(self.item_E, kind="stable")
        counts_N = np.bincount(self.item_E, minlength=self.n_items)
        first_N = np.concatenate([[0], np.cumsum(counts_N)[:-1]])
        rank_E = np.empty(len(order), dtype=np.int64)
        rank_E[order] = np.arange(len(order)) - np.repeat(first_N, counts_N)
        return rank_E

    def histories(self) -> Histories:
        """By user, in order of time."""
        order = np.argsort(self.user_E, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(self.user_E, minlength=self.n_users))])
        return Histories(indptr.astype(np.int64), self.item_E[order].astype(np.int32), self.n_items)


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


def positive_events(dataset: Dataset, rng: np.random.Generator) -> Events:
    """All positives, each (user, item) once, by time; in random order where there is no time."""
    rows = dataset.interactions
    per_user = positives(dataset)
    user_E, item_E = per_user.user_E, per_user.item_E.astype(np.int64)
    if rows.timestamp_E is None:
        order = rng.permutation(len(user_E))
        return Events(user_E[order], item_E[order], None, dataset.n_users, dataset.n_items)
    positive = labels(dataset) > 0
    key_E = rows.user_E[positive].astype(np.int64) * dataset.n_items + rows.item_E[positive]
    known, first = np.unique(key_E, return_index=True)
    at = first[np.searchsorted(known, user_E * dataset.n_items + item_E)]
    time_E = rows.timestamp_E[positive][at]
    order = np.argsort(time_E, kind="stable")
    return Events(user_E[order], item_E[order], time_E[order], dataset.n_users, dataset.n_items)


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
        warm=first_events(train, warm_I, clock),
        item_features=encode(dataset.items, schema, dataset.n_items),
        item_schema=schema,
        sizes=SUPPORT_SIZES,
        visits=clock.total,
        folds=folds,
        seed=seed,
    )
    return data, _task(first_events(cold, np.unique(cold.item_E), clock), cold, train, held_out)


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


class Traffic:
    """How many visits all users had paid until a time; a visit is a user's day."""

    def __init__(self, events: Events) -> None:
        self._starts: NDArray[np.int64] | None = None
        self.total = 0.0
        if events.time_E is not None:
            day_E = events.time_E // _DAY_MS
            order = np.lexsort((events.time_E, day_E, events.user_E))
            user, day = events.user_E[order], day_E[order]
            new = np.ones(len(order), dtype=np.bool_)
            new[1:] = (user[1:] != user[:-1]) | (day[1:] != day[:-1])
            self._starts = np.sort(events.time_E[order][new])
            self.total = float(len(self._starts))

    def until(self, time_E: NDArray[np.int64]) -> NDArray[np.float32]:
        """Visits that began at or before each time."""
        assert self._starts is not None, "no time in these events. This is a bug."
        return np.searchsorted(self._starts, time_E, side="right").astype(np.float32)


def first_events(
    events: Events, items_I: NDArray[np.int64], clock: Traffic, window: int = SUPPORT_SIZES[-1]
) -> ItemSupports:
    """The first `window` events of some items.

    Args:
        events: in order of time; those of other items are left out.
        items_I: item codes, ascending.
        clock: of the training interactions.
        window: S.
    """
    rank_E = events.rank_in_item()
    row_N = np.full(events.n_items, -1, dtype=np.int64)
    row_N[items_I] = np.arange(len(items_I))
    kept_E = (rank_E < window) & (row_N[events.item_E] >= 0)
    at = (row_N[events.item_E[kept_E]], rank_E[kept_E])
    users_IS = np.full((len(items_I), window), PADDING, dtype=np.int32)
    users_IS[at] = events.user_E[kept_E]
    if events.time_E is None:
        return ItemSupports(items_I, users_IS, None)
    traffic_IS = np.zeros((len(items_I), window), dtype=np.float32)
    traffic_IS[at] = clock.until(events.time_E[kept_E])
    return ItemSupports(items_I, users_IS, np.maximum.accumulate(traffic_IS, axis=1))
