"""What users rated low, and when: information that a support may hold beside its positives.

Knows nothing of models. An item that a user ever takes as a positive is not low for them.

Shape legend: U users, B users of a block, E low ratings, L low ratings of a user, N items.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.datasets.dataset import Dataset
from training.tasks import PADDING, positive_rows


@dataclass(frozen=True, slots=True)
class LowRatings:
    """Users' items of a low value, each once (its first occurrence), oldest first, as CSR."""

    indptr_U1: NDArray[np.int64]
    item_E: NDArray[np.int32]
    value_E: NDArray[np.float32]
    after_E: NDArray[np.int64]
    """Positives of the user that came before."""

    @property
    def n_users(self) -> int:
        return len(self.indptr_U1) - 1

    def take(self, users: NDArray[np.integer]) -> "LowRatings":
        """The low ratings of some users, in the order given."""
        lengths = np.diff(self.indptr_U1)[users]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
        rows = np.repeat(self.indptr_U1[users], lengths) + within
        return LowRatings(indptr, self.item_E[rows], self.value_E[rows], self.after_E[rows])

    def before(self, n: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """What was rated low before the n-th positive: items and values, (U, L) each.

        Padded behind with `PADDING` and 0; L is the longest row's length. None at n = 0.
        """
        user_E = np.repeat(np.arange(self.n_users), np.diff(self.indptr_U1))
        kept_E = self.after_E < n
        users = user_E[kept_E]
        length_U = np.bincount(users, minlength=self.n_users)
        column = np.arange(len(users)) - np.repeat(np.cumsum(length_U) - length_U, length_U)
        shape = (self.n_users, int(length_U.max(initial=0)))
        item_UL = np.full(shape, PADDING, dtype=np.int32)
        value_UL = np.zeros(shape, dtype=np.float32)
        item_UL[users, column] = self.item_E[kept_E]
        value_UL[users, column] = self.value_E[kept_E]
        return item_UL, value_UL


def low_ratings(dataset: Dataset) -> LowRatings:
    """The low ratings of every user of a data set: rows with a value that are no positives."""
    rows = dataset.interactions
    value_E = rows.value_E
    if value_E is None:
        value_E = np.full(len(rows), np.nan, dtype=np.float32)
    positive_E = positive_rows(dataset)
    pair_E = rows.user_E.astype(np.int64) * dataset.n_items + rows.item_E
    first_E = _first(pair_E, positive_E)
    count_E = np.cumsum(first_E)
    user_start_E = np.searchsorted(rows.user_E, rows.user_E)
    before_user_E = np.concatenate([[0], count_E])[user_start_E]
    low_E = ~positive_E & ~np.isnan(value_E) & ~np.isin(pair_E, pair_E[positive_E])
    kept = np.flatnonzero(_first(pair_E, low_E))
    lengths_U = np.bincount(rows.user_E[kept], minlength=dataset.n_users)
    return LowRatings(
        np.concatenate([[0], np.cumsum(lengths_U)]).astype(np.int64),
        rows.item_E[kept].astype(np.int32),
        value_E[kept].astype(np.float32),
        (count_E - before_user_E)[kept],
    )


def _first(pair_E: NDArray[np.int64], wanted_E: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first wanted row of every pair."""
    rows = np.flatnonzero(wanted_E)
    _, first = np.unique(pair_E[rows], return_index=True)
    mask_E = np.zeros(len(pair_E), dtype=np.bool_)
    mask_E[rows[first]] = True
    return mask_E
