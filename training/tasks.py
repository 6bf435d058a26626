"""Tasks and episodes: users' positive items in time order, split into users and drawn as episodes.

Knows nothing of models or of files.

Shape legend: U users, E interactions, B episodes, S support rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.datasets.dataset import Dataset

PADDING = -1
"""Marks an empty support row in an array of item codes."""

_REPRESENTATIVE = 100
"""Users with a full window that are enough to learn from them alone."""


@dataclass(frozen=True, slots=True)
class Histories:
    """Users' positive items, each item once (its first occurrence), oldest first, as CSR arrays."""

    indptr_U1: NDArray[np.int64]
    """Row starts, (U + 1,)."""
    item_E: NDArray[np.int32]
    """Item codes, 0 .. n_items - 1."""
    n_items: int

    @property
    def n_users(self) -> int:
        return len(self.indptr_U1) - 1

    @property
    def lengths_U(self) -> NDArray[np.int64]:
        return np.diff(self.indptr_U1)

    @property
    def user_E(self) -> NDArray[np.int64]:
        """Row number of every entry, (E,)."""
        return np.repeat(np.arange(self.n_users), self.lengths_U)

    def items(self, user: int) -> NDArray[np.int32]:
        """One user's items, oldest first."""
        return self.item_E[self.indptr_U1[user] : self.indptr_U1[user + 1]]

    def take(self, users: NDArray[np.integer]) -> "Histories":
        """The histories of some users, in the order given."""
        lengths = self.lengths_U[users]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
        return Histories(
            indptr, self.item_E[np.repeat(self.indptr_U1[users], lengths) + within], self.n_items
        )

    def prefix(self, start_U: NDArray[np.integer], stop_U: NDArray[np.integer]) -> "Histories":
        """The slice [start, stop) of every user's history, clipped to its length."""
        start = np.minimum(start_U, self.lengths_U)
        stop = np.clip(stop_U, start, self.lengths_U)
        lengths = stop - start
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
        return Histories(
            indptr,
            self.item_E[np.repeat(self.indptr_U1[:-1] + start, lengths) + within],
            self.n_items,
        )

    def padded(self, width: int) -> NDArray[np.int32]:
        """The first `width` items of every user as (U, width), `PADDING` where there are fewer."""
        out_US = np.full((self.n_users, width), PADDING, dtype=np.int32)
        head = self.prefix(np.zeros(self.n_users, np.int64), np.full(self.n_users, width))
        column = np.arange(len(head.item_E)) - np.repeat(head.indptr_U1[:-1], head.lengths_U)
        out_US[head.user_E, column] = head.item_E
        return out_US

    def counts(self) -> NDArray[np.int64]:
        """How often each item occurs, (n_items,)."""
        return np.bincount(self.item_E, minlength=self.n_items)


def from_pairs(
    user_E: NDArray[np.integer], item_E: NDArray[np.integer], n_users: int, n_items: int
) -> Histories:
    """Histories from (user, item) pairs that are sorted by user, then by time.

    Only the first occurrence of a pair is kept.
    """
    _, first = np.unique(user_E.astype(np.int64) * n_items + item_E, return_index=True)
    first.sort()
    users = user_E[first]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=n_users))])
    return Histories(indptr.astype(np.int64), item_E[first].astype(np.int32), n_items)


def positives(dataset: "Dataset") -> Histories:
    """The positive histories of every user of a data set, by its rules."""
    events = dataset.interactions
    positive = positive_rows(dataset)
    return from_pairs(
        events.user_E[positive],
        events.item_E[positive],
        len(dataset.user_ids),
        len(dataset.item_ids),
    )


def positive_rows(dataset: "Dataset") -> NDArray[np.bool_]:
    """Which interactions are positive, (E,).

    Events of a type that weighs 0 are no evidence; other weights count at serving time alone.
    """
    from training.datasets import labels

    events = dataset.interactions
    positive: NDArray[np.bool_] = labels(dataset) > 0
    if events.event_E is not None:
        rules = dataset.config.rules
        weight = np.array([*(rules.weight(name) for name in events.event_names), 1.0])
        positive &= weight[events.event_E] > 0  # -1, no event, is the last
    return positive


def split_users(
    users: NDArray[np.integer],
    rng: np.random.Generator,
    fractions: tuple[float, float] = (0.7, 0.1),
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]:
    """Split users at random into train, validation and the rest (test)."""
    order = rng.permutation(users)
    train = round(fractions[0] * len(users))
    validation = train + round(fractions[1] * len(users))
    return np.sort(order[:train]), np.sort(order[train:validation]), np.sort(order[validation:])


def automatic_window(lengths_U: NDArray[np.integer]) -> int:
    """Support window for users with these numbers of positives: 20 on dense data, 3 on sparse.

    Dense: at least half of the users with five positives or more have a query of five left after
    a window of 20.
    """
    usable = lengths_U[lengths_U >= 5]
    return 20 if len(usable) and np.median(usable) >= 25 else 3


@dataclass(frozen=True, slots=True)
class Episodes:
    """A batch of tasks: what was seen, what must be ranked, what takes no part."""

    users_B: NDArray[np.int64]
    """Row in the training histories, for features."""
    support_BS: NDArray[np.int32]
    """Item codes in time order, `PADDING` behind."""
    query_row: NDArray[np.int64]
    query_item: NDArray[np.int32]
    """Query pairs: row in the batch, item code."""
    masked_row: NDArray[np.int64]
    masked_item: NDArray[np.int32]
    """Pairs that are no candidates: the whole window and what came before it."""


def representative_users(histories: Histories, window: int) -> NDArray[np.int64]:
    """Rows of the users whose episodes look like the use that is measured.

    Those have a full window and something after it. Shorter histories end where the others'
    queries begin: learning from their last items teaches what comes early. Where fewer than
    `_REPRESENTATIVE` users have a full window, everyone with a support and a query counts.
    """
    full = np.flatnonzero(histories.lengths_U > window)
    if len(full) >= _REPRESENTATIVE:
        return full
    return np.flatnonzero(histories.lengths_U >= 2)


def draw_episodes(
    histories: Histories,
    users_B: NDArray[np.int64],
    window: int,
    rng: np.random.Generator,
    *,
    offset_probability: float = 0.5,
) -> Episodes:
    """Draw one episode for each user, made like the use at serving time.

    A window of `window` positives starts at the first one or (with `offset_probability`) at a
    random one; the support is its first n, n uniform on 0 .. window; the query is all that follows
    the window. Users too short for the full window get a shorter one (half of their positives).

    Args:
        histories: training users' histories.
        users_B: rows of `histories`, each with at least 2 positives.
        window: largest support size.
        rng: source of the offsets and the sizes.
        offset_probability: share of episodes that start later than the user's first positive.
    """
    batch = histories.take(users_B)
    lengths = batch.lengths_U
    window_B = np.minimum(window, lengths // 2)
    spare = np.maximum(lengths - window_B - 1, 0)
    offset = np.floor(rng.random(len(users_B)) * (spare + 1)).astype(np.int64)
    offset = np.where(rng.random(len(users_B)) < offset_probability, offset, 0)
    size = np.floor(rng.random(len(users_B)) * (window_B + 1)).astype(np.int64)
    support = batch.prefix(offset, offset + size)
    masked = batch.prefix(np.zeros_like(offset), offset + window_B)
    query = batch.prefix(offset + window_B, lengths)
    return Episodes(
        users_B, support.padded(window), query.user_E, query.item_E, masked.user_E, masked.item_E
    )
