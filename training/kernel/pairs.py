"""Statistics of item pairs over users' histories: how often, how exclusively, in which order.

Knows nothing of what is learned from them.

Shape legend: U users, N items, P ordered pairs (s, i) of different items of one user, E edges.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.tasks import Histories

MAX_HISTORY = 100
"""Positives of a user, the latest, that make pairs."""
MAX_PAIRS = 60_000_000
"""Pairs counted in all; of larger data a random part of the users is counted."""
_PIECE_PAIRS = 4_000_000
"""Pairs that are in memory at once, those of one item at least."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The strongest edges s -> i of every item s, as CSR arrays with one statistic an edge."""

    indptr_N1: NDArray[np.int64]
    item_E: NDArray[np.int32]
    """i of every edge, ascending within a row."""
    users_E: NDArray[np.float32]
    """c: users who have both."""
    weight_E: NDArray[np.float32]
    """w: sum over those users of 1 / (L - 1), L the length of the history."""
    after_E: NDArray[np.float32]
    """o: the part of w in which s came before i."""
    near_E: NDArray[np.float32]
    """t: sum over those users of exp(-(gap - 1) / 2), gap the distance in the history."""
    degree_N: NDArray[np.float32]
    """Users who have the item."""

    @property
    def n_items(self) -> int:
        return len(self.degree_N)

    @property
    def source_E(self) -> NDArray[np.int64]:
        """s of every edge."""
        return np.repeat(np.arange(self.n_items), np.diff(self.indptr_N1))

    def only(self, kept: NDArray[np.int64]) -> "Graph":
        """The graph of some of its edges.

        Args:
            kept: positions of edges, ascending.
        """
        counts = np.bincount(self.source_E[kept], minlength=self.n_items)
        return Graph(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            self.item_E[kept],
            self.users_E[kept],
            self.weight_E[kept],
            self.after_E[kept],
            self.near_E[kept],
            self.degree_N,
        )


def recent(histories: Histories, limit: int = MAX_HISTORY) -> Histories:
    """The latest positives of every user: what pairs are counted over."""
    lengths_U = histories.lengths_U
    return histories.prefix(np.maximum(lengths_U - limit, 0), lengths_U)


def count_pairs(histories: Histories, edges: float, rng: np.random.Generator) -> Graph:
    """Count ordered pairs; where there are too many, keep the heaviest (by w) of every item.

    Sparse data keeps all of them: rare pairs are what its lists are made of.

    Args:
        histories: users' positives, each user at most `MAX_HISTORY` of them (see `recent`).
        edges: most edges of an item, on average over interactions.
        rng: picks the users that are counted where there are too many pairs.
    """
    n_items = histories.n_items
    popularity_N = histories.counts().astype(np.float64)
    degree_N = np.zeros(n_items, dtype=np.int64)
    kept: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for key_E, sums_4E in _pieces(_affordable(histories, rng)):
        degree_N += np.bincount(key_E // n_items, minlength=n_items)
        # Degrees that are still unknown count as 0 here, so the limit only falls from now on.
        limit = most_per_row(degree_N, popularity_N, edges)
        kept.append(_strongest_of(key_E, sums_4E, n_items, limit))
    key_E = np.concatenate([np.empty(0, np.int64), *(key for key, _ in kept)])
    sums_4E = np.concatenate([np.empty((4, 0)), *(sums for _, sums in kept)], axis=1)
    order = np.argsort(key_E)
    limit = most_per_row(degree_N, popularity_N, edges)
    key_E, sums_4E = _strongest_of(key_E[order], sums_4E[:, order], n_items, limit)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(key_E // n_items, minlength=n_items))])
    users, weight, after, near = sums_4E.astype(np.float32)
    return Graph(
        indptr.astype(np.int64),
        (key_E % n_items).astype(np.int32),
        users,
        weight,
        after,
        near,
        popularity_N.astype(np.float32),
    )


def _strongest_of(
    key_E: NDArray[np.int64], sums_4E: NDArray[np.float64], n_items: int, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Edges in ascending order of their keys, without those beyond a limit an item."""
    kept = strongest(key_E // n_items, sums_4E[1], n_items, limit)
    return key_E[kept], sums_4E[:, kept]


def _affordable(histories: Histories, rng: np.random.Generator) -> Histories:
    pairs_U = histories.lengths_U * (histories.lengths_U - 1)
    order_U = rng.permutation(histories.n_users)
    within = np.cumsum(pairs_U[order_U]) <= MAX_PAIRS
    return histories if within.all() else histories.take(np.sort(order_U[within]))


def _pieces(histories: Histories) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """All edges of some of the items at a time, popular items first, and their statistics (4, E).

    An edge is its key s * N + i; keys of a piece ascend.
    """
    lengths_E = np.repeat(histories.lengths_U, histories.lengths_U)
    pairs_N = np.bincount(histories.item_E, lengths_E - 1, minlength=histories.n_items)
    popular_N = np.argsort(-histories.counts(), kind="stable")
    piece_N = np.empty(histories.n_items, dtype=np.int64)
    piece_N[popular_N] = np.cumsum(pairs_N[popular_N]) // _PIECE_PAIRS
    piece_E = piece_N[histories.item_E]
    order_E = np.argsort(piece_E, kind="stable")
    for entries in np.split(order_E, np.flatnonzero(np.diff(piece_E[order_E])) + 1):
        yield _sum_by_key(*_pairs(histories, entries))


def _pairs(
    histories: Histories, entries: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs whose first is one of the entries: key, and share of each of the four statistics."""
    lengths = np.repeat(histories.lengths_U, histories.lengths_U)[entries]
    start = np.repeat(histories.indptr_U1[:-1], histories.lengths_U)[entries]
    first_P = np.repeat(entries, lengths)
    offset = np.cumsum(lengths) - lengths
    second_P = np.arange(len(first_P)) + np.repeat(start - offset, lengths)
    differ = first_P != second_P
    share_P = 1.0 / (np.repeat(lengths, lengths)[differ] - 1)
    first_P, second_P = first_P[differ], second_P[differ]
    item = histories.item_E.astype(np.int64)
    gap_P = np.abs(first_P - second_P)
    values_4P = np.stack(
        [
            np.ones(len(first_P)),
            share_P,
            share_P * (first_P < second_P),
            np.exp(-(gap_P - 1) / 2.0),
        ]
    )
    return item[first_P] * histories.n_items + item[second_P], values_4P


def _sum_by_key(
    key_P: NDArray[np.int64], values_4P: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if not len(key_P):
        return key_P, values_4P
    order = np.argsort(key_P, kind="stable")
    key_P = key_P[order]
    first = np.flatnonzero(np.r_[True, key_P[1:] != key_P[:-1]])
    return key_P[first], np.add.reduceat(values_4P[:, order], first, axis=1)


def most_per_row(degree_N: NDArray[np.integer], weight_N: NDArray[np.floating], mean: float) -> int:
    """The largest limit a row under which the weighted mean row is at most `mean`; at least 1."""
    share_N = weight_N / max(float(weight_N.sum()), 1e-12)
    low, high = 1, max(int(degree_N.max(initial=1)), 1)
    while low < high:
        middle = (low + high + 1) // 2
        if float(np.minimum(degree_N, middle) @ share_N) <= mean:
            low = middle
        else:
            high = middle - 1
    return low


def strongest(
    source_E: NDArray[np.int64], weight_E: NDArray[np.floating], n_items: int, edges: int
) -> NDArray[np.int64]:
    """Positions of each source's `edges` heaviest edges, in ascending order."""
    order = np.lexsort((-weight_E, source_E))
    counts = np.bincount(source_E, minlength=n_items)
    start = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - start[source_E[order]]
    return np.sort(order[rank < edges])
