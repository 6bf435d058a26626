"""What a method for cold items is given and gives back, and how its lists are measured.

Knows nothing of how items were split, nor of any method. Users are known; some items are cold:
of their interactions a method sees the first n alone. Every list ranks cold and warm items
together, so a method must also know how good a cold item is beside the warm ones.

Shape legend: U users, B users of a block, I items of a task, N items, S support rows, F feature
positions, M metrics, V views.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.schema import FeatureSchema
from training.items.embedding import Embedding
from training.methods import check_scores
from training.metrics import METRICS, NO_ITEM, hit_rate, ndcg, recall, top_items
from training.tasks import PADDING, Histories

VIEWS = ("all", "cold-hits", "cold")
"""all: rank cold and warm items, either may be relevant. cold-hits: the same ranking, only cold
items are relevant. cold: rank cold items alone."""

_BLOCK_CELLS = 4_000_000
_RANKS = 20

Ranker = Callable[[NDArray[np.integer]], NDArray[np.float32]]
"""users_B -> scores_BN: scores of all items, warm and cold, higher is better, no NaN."""


@dataclass(frozen=True, slots=True)
class ItemSupports:
    """The first interactions of some items, oldest first."""

    items_I: NDArray[np.int64]
    """Item codes."""
    users_IS: NDArray[np.int32]
    """User codes, `PADDING` behind where an item has fewer."""
    traffic_IS: NDArray[np.float32] | None
    """Visits of all users from the first of the data until each row's interaction; None where
    the data has no time. A visit is a user's day. Padding repeats the row before it."""
    events_IS: NDArray[np.float32] | None = None
    """The same in events of all users on warm items."""
    states_ISD: NDArray[np.float32] | None = None
    """States of the users as they were just before each row's interaction; None: those of today."""

    @property
    def sizes_I(self) -> NDArray[np.int64]:
        """Rows of every item."""
        sizes_I: NDArray[np.int64] = np.sum(self.users_IS != PADDING, axis=1, dtype=np.int64)
        return sizes_I

    def exposure(self, origin: str, visits: float) -> NDArray[np.float64]:
        """Share of all visits that an item has been exposed to, up to its last row, (I,).

        Args:
            origin: "start" counts from the first visit of the data, "first" from the item's first
                interaction.
            visits: of the data, as `ColdItemData.visits`; 0 gives exposures of 0.
        """
        if self.traffic_IS is None or self.traffic_IS.shape[1] == 0 or visits == 0:
            return np.zeros(len(self.items_I))
        since_I = self.traffic_IS[:, 0] if origin == "first" else 0.0
        share_I: NDArray[np.float64] = (self.traffic_IS[:, -1] - since_I) / np.float64(visits)
        return share_I

    def events_met(self, *, from_first: bool) -> NDArray[np.float64]:
        """Events that an item has met up to its last row, its own included, (I,).

        Without support, and without time, they are not known: 0.

        Args:
            from_first: count from the item's first interaction, not from the first of the data.
        """
        if self.events_IS is None or self.events_IS.shape[1] == 0:
            return np.zeros(len(self.items_I))
        since_I = self.events_IS[:, 0] if from_first else 0.0
        return np.asarray(self.events_IS[:, -1] - since_I + self.sizes_I, dtype=np.float64)

    def head(self, n: int) -> "ItemSupports":
        """The first n rows of every item."""
        return self._part((slice(None), slice(n)))

    def take(self, rows: NDArray[np.integer]) -> "ItemSupports":
        """The supports of some rows of `items_I`."""
        return self._part((rows,))

    def _part(self, index: tuple[Any, ...]) -> "ItemSupports":
        by_row = (self.traffic_IS, self.events_IS, self.states_ISD)
        parts = (None if rows is None else rows[index] for rows in by_row)
        return ItemSupports(self.items_I[index[0]], self.users_IS[index], *parts)


@dataclass(frozen=True)
class ColdItemTask:
    """Cold items with their first interactions, and the users to rank for."""

    supports: ItemSupports
    """The cold items; S is the largest support."""
    users_U: NDArray[np.int64]
    """Codes of the users to rank for: those with a cold item in their query."""
    seen: Histories
    """(U rows) what is no candidate of a user: warm items of training, cold items whose window
    holds the user. The same at every n, so one query serves all sizes."""
    query: Histories
    """(U rows) warm interactions held out, and cold ones after the window."""
    candidates_N: NDArray[np.bool_]
    """Warm items with a training interaction, and the cold items."""

    @property
    def cold_N(self) -> NDArray[np.bool_]:
        """Where an item is cold."""
        mask_N = np.zeros(len(self.candidates_N), dtype=np.bool_)
        mask_N[self.supports.items_I] = True
        return mask_N

    def sample(self, limit: int, seed: int) -> "ColdItemTask":
        """The task for at most `limit` of its users, drawn at random."""
        if limit >= len(self.users_U):
            return self
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(len(self.users_U), limit, replace=False))
        return ColdItemTask(
            self.supports,
            self.users_U[rows],
            self.seen.take(rows),
            self.query.take(rows),
            self.candidates_N,
        )


@dataclass(frozen=True, eq=False)
class ColdItemData:
    """All that a method may learn from. Codes of users and items are those of the data set."""

    train: Histories
    """(all users) their warm interactions but those held out."""
    warm: ItemSupports
    """The first training interactions of every warm item."""
    item_features: csr_matrix
    """(N, F); statistics come from warm items alone."""
    item_schema: FeatureSchema
    """Layout of the F positions."""
    sizes: tuple[int, ...]
    """Support sizes n that are reported, ascending."""
    visits: float
    """Visits of all users in the data; 0 where there is no time."""
    folds: "tuple[tuple[ColdItemData, ColdItemTask], ...]"
    """Splits like the test split, made of the training interactions alone, each with other cold
    items: validation, and episodes to learn adapting from. None within a fold."""
    seed: int

    @property
    def window(self) -> int:
        """The largest support."""
        return self.sizes[-1]

    @property
    def has_time(self) -> bool:
        """Whether exposure is known."""
        return self.visits > 0


class ItemMethod(Protocol):
    """Anything that ranks warm items and cold ones, these from a few interactions."""

    name: str

    def fit(self, data: ColdItemData) -> None:
        """Train on `data.train`; choose every setting on `data.folds`."""

    def embed(self, supports: ItemSupports, n: int) -> Embedding:
        """Adapt the cold items to their supports.

        Args:
            supports: the cold items, n rows each or as many as they have.
            n: support size.
        """

    def embed_fold(self, fold: int, supports: ItemSupports, n: int) -> Embedding:
        """The same with what was learned from `data.folds[fold]` alone, settings apart."""

    def validation(self, n: int) -> float:
        """The `quality` on the folds that the settings of support size n were chosen by."""

    def settings(self) -> dict[str, Any]:
        """What `fit` chose, in JSON's types."""


def user_blocks(task: ColdItemTask) -> Iterator[NDArray[np.int64]]:
    """Rows of users in blocks small enough for a dense (B, N) matrix."""
    size = int(np.clip(_BLOCK_CELLS // max(len(task.candidates_N), 1), 1, 1024))
    for start in range(0, len(task.users_U), size):
        yield np.arange(start, min(start + size, len(task.users_U)))


def measure(name: str, rank: Ranker, task: ColdItemTask, n: int) -> NDArray[np.float64]:
    """Metrics of every user at one support size, (V, U, M).

    Raises:
        ScoreError: the scores have a wrong shape or hold NaN; the message names the method.
    """
    figures_VUM = np.empty((len(VIEWS), len(task.users_U), len(METRICS)))
    cold_N = task.cold_N
    for rows in user_blocks(task):
        scores_BN = rank(task.users_U[rows])
        check_scores(name, scores_BN, (len(rows), len(cold_N)), n)
        excluded_BN = ~task.candidates_N | pairs(task.seen, rows)
        relevant_BN = pairs(task.query, rows)
        ranked_BK = top_items(scores_BN, excluded_BN, _RANKS)
        figures_VUM[0, rows] = _metrics(ranked_BK, relevant_BN)
        figures_VUM[1, rows] = _metrics(ranked_BK, relevant_BN & cold_N)
        cold_BK = top_items(scores_BN[:, cold_N], excluded_BN[:, cold_N], _RANKS)
        figures_VUM[2, rows] = _metrics(cold_BK, relevant_BN[:, cold_N])
    return figures_VUM


def _metrics(ranked_BK: NDArray[np.integer], relevant_BN: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`training.metrics.user_metrics` of lists that are ranked already, (B, M)."""
    hits_BK = np.take_along_axis(relevant_BN, np.maximum(ranked_BK, 0), axis=1)
    hits_BK &= ranked_BK != NO_ITEM
    relevant_B = np.count_nonzero(relevant_BN, axis=1)
    return np.stack(
        [ndcg(hits_BK, relevant_B, 10), recall(hits_BK, relevant_B, 20), hit_rate(hits_BK, 10)],
        axis=1,
    )


def quality(figures_VUM: NDArray[np.float64]) -> float:
    """The one number that settings are chosen by: nDCG@10 over all items and over cold ones."""
    return float(figures_VUM[[0, 2], :, 0].mean())


def pairs(histories: Histories, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(B, N), True where a user has an item."""
    block = histories.take(rows)
    out_BN = np.zeros((len(rows), block.n_items), dtype=np.bool_)
    out_BN[block.user_E, block.item_E] = True
    return out_BN
