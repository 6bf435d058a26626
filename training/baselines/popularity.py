"""Methods that see neither the support nor the user: random, popularity, late popularity.

Knows nothing of fold-in; the last two are also priors that fold-in methods are blended with.

Late popularity is matched to what is measured. A query begins after the window, and what is in the
window is no candidate, so the wanted rate of an item is P(after the window | not in the window):
late occurrences over the users who did not take the item within the window.

Shape legend: U users, B users of a block, N items.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.baselines.interactions import split_at
from training.methods import ColdUserData
from training.tasks import Histories

_PSEUDO_USERS = 10.0
"""Users of plain popularity that are added to the late rates: all there is on short histories."""
_RATE_FLOOR = 1e-6


class Random:
    """Scores that say nothing: the floor of every table."""

    name = "random"

    def fit(self, data: ColdUserData) -> None:
        self._seed, self._n_items = data.seed, data.n_items

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        rng = np.random.default_rng([self._seed, n])
        return rng.random((len(support_BS), self._n_items), dtype=np.float32)

    def settings(self) -> dict[str, Any]:
        return {}


class Popularity:
    """Log of each item's share of training users, the same for everyone."""

    name = "popularity"

    def fit(self, data: ColdUserData) -> None:
        self._logit_N = log_rate(popularity_rate(data.train), np.ones(data.n_items))

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        return np.repeat(self._logit_N[None, :], len(support_BS), axis=0)

    def settings(self) -> dict[str, Any]:
        return {}


class LatePopularity:
    """Log of the rate at which users who did not take an item early take it late."""

    name = "late-popularity"

    def fit(self, data: ColdUserData) -> None:
        early_N, late_N = late_rates(data.train, data.window)
        self._logit_N = log_rate(late_N, 1.0 - early_N)

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        return np.repeat(self._logit_N[None, :], len(support_BS), axis=0)

    def settings(self) -> dict[str, Any]:
        return {}


def popularity_rate(histories: Histories) -> NDArray[np.float64]:
    """Share of users who have each item, (N,)."""
    rate_N: NDArray[np.float64] = histories.counts() / max(histories.n_users, 1)
    return rate_N


def late_rates(
    histories: Histories, window: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of users with each item within the window, and after it, (N,) each.

    Counted over users who go beyond the window, plus a few pseudo-users who take plain popularity
    late: where nobody goes beyond the window, plain popularity is what is left.
    """
    beyond = histories.take(np.flatnonzero(histories.lengths_U > window))
    early, late = split_at(beyond, window)
    users = beyond.n_users + _PSEUDO_USERS
    early_N = np.asarray(early.sum(axis=0), dtype=np.float64).ravel() / users
    late_N = np.asarray(late.sum(axis=0), dtype=np.float64).ravel()
    return early_N, (late_N + _PSEUDO_USERS * popularity_rate(histories)) / users


def log_rate(rate: NDArray[np.floating], exposure: NDArray[np.floating]) -> NDArray[np.float32]:
    """log(rate / exposure), with floors that keep it finite."""
    ratio = np.maximum(rate, _RATE_FLOOR) / np.maximum(exposure, 0.1)
    logits: NDArray[np.float32] = np.log(ratio).astype(np.float32)
    return logits
