"""Positive interactions of all users in one order of time, and what came first of each item.

Knows nothing of splits or methods.

Shape legend: N items, I items of a support, E interactions, S support rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.datasets import Dataset
from training.items.task import ItemSupports
from training.tasks import PADDING, Histories, positive_rows, positives

_DAY_MS = 86_400_000


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

    def places(self, users: NDArray[np.integer], items: NDArray[np.integer]) -> NDArray[np.int64]:
        """Where the events of some pairs are, all of which there must be."""
        key_E = self.user_E * self.n_items + self.item_E
        order = np.argsort(key_E)
        wanted = users.astype(np.int64) * self.n_items + items
        found: NDArray[np.int64] = order[np.searchsorted(key_E, wanted, sorter=order)]
        return found

    def by_user(self, kept_N: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Places of the events on some items, by user and in order of time."""
        places = np.flatnonzero(kept_N[self.item_E])
        return places[np.argsort(self.user_E[places], kind="stable")]

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


def positive_events(dataset: Dataset, rng: np.random.Generator) -> Events:
    """All positives, each (user, item) once, by time; in random order where there is no time."""
    rows = dataset.interactions
    per_user = positives(dataset)
    user_E, item_E = per_user.user_E, per_user.item_E.astype(np.int64)
    if rows.timestamp_E is None:
        order = rng.permutation(len(user_E))
        return Events(user_E[order], item_E[order], None, dataset.n_users, dataset.n_items)
    positive = positive_rows(dataset)
    key_E = rows.user_E[positive].astype(np.int64) * dataset.n_items + rows.item_E[positive]
    known, first = np.unique(key_E, return_index=True)
    at = first[np.searchsorted(known, user_E * dataset.n_items + item_E)]
    time_E = rows.timestamp_E[positive][at]
    order = np.argsort(time_E, kind="stable")
    return Events(user_E[order], item_E[order], time_E[order], dataset.n_users, dataset.n_items)


class Traffic:
    """How many visits all users had paid until a time, and how many events there were; a visit is
    a user's day."""

    def __init__(self, events: Events) -> None:
        self._starts: NDArray[np.int64] | None = None
        self._times = events.time_E
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

    def events_until(self, time_E: NDArray[np.int64]) -> NDArray[np.float32]:
        """Events at or before each time."""
        assert self._times is not None, "no time in these events. This is a bug."
        return np.searchsorted(self._times, time_E, side="right").astype(np.float32)


def first_events(
    events: Events, items_I: NDArray[np.int64], clock: Traffic, window: int
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
    counted = []
    for until in (clock.until, clock.events_until):
        count_IS = np.zeros((len(items_I), window), dtype=np.float32)
        count_IS[at] = until(events.time_E[kept_E])
        counted.append(np.maximum.accumulate(count_IS, axis=1))
    return ItemSupports(items_I, users_IS, *counted)
