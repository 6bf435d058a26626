"""A fold-in family as a method: its settings searched, its scores blended with popularity priors.

Knows nothing of what a family computes. The blend is z(family) + w · prior, where z standardises a
user's scores over the candidates; prior and w are chosen for each support size on validation
users. At n = 0 the prior stands alone.

Shape legend: B users of a block, S support rows, N items, P priors, W weights.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.baselines.demo_pop import DemoPop
from training.baselines.popularity import LatePopularity, Popularity
from training.baselines.search import search
from training.methods import (
    ColdUserData,
    ColdUsers,
    Method,
    check_scores,
    excluded_items,
    relevant_items,
    user_blocks,
    validation_users,
)
from training.metrics import user_metrics

FoldIn = Callable[[NDArray[np.int32]], NDArray[np.float32]]
"""support_BS -> scores_BN."""

WEIGHTS = (0.0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0)
"""Weights of the prior that are tried; the search for settings tries every second."""

TUNING_USERS = 1_000
"""Validation users that settings are chosen on, at most."""


class Family(Protocol):
    """A model that is fitted to training users and folds new users in from their items."""

    name: str
    axes: Mapping[str, Sequence[float]]
    """Settings to search: ascending values of each."""
    starts: Sequence[Mapping[str, float]]
    """Where the search may begin: one of the values of every axis."""

    def fit(self, data: ColdUserData, settings: Mapping[str, float]) -> FoldIn:
        """Train on `data.train` with these settings."""


class Blended:
    """A family with its priors, as a `training.methods.Method`."""

    def __init__(self, family: Family) -> None:
        self.name = family.name
        self._family = family

    def fit(self, data: ColdUserData) -> None:
        self._candidates_N = data.candidates_N
        self._priors = fitted_priors(data)
        users = validation_users(data, limit=TUNING_USERS)
        sizes = [n for n in data.sizes if n > 0]
        best = -1.0

        def figure(settings: Mapping[str, float]) -> float:
            nonlocal best
            model = self._family.fit(data, settings)
            by_size = [
                self._figures(model, users, n, self._priors[-1:], WEIGHTS[1::2]).max()
                for n in sizes
            ]
            mean = float(np.mean(by_size)) if by_size else 0.0
            if mean > best:
                best, self._model = mean, model
            return mean

        self._settings, self._visited = search(self._family.axes, self._family.starts, figure)
        self._chosen = self._choose(users, data.sizes)

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        prior, weight = self._chosen[n]
        prior_BN = self._priors[prior].score(support_BS, features, n)
        if n == 0:
            return prior_BN
        return standardised(self._model(support_BS), self._candidates_N) + weight * prior_BN

    def settings(self) -> dict[str, Any]:
        return {
            **self._settings,
            "points_visited": self._visited,
            "prior": {str(n): self._priors[p].name for n, (p, _) in self._chosen.items()},
            "prior_weight": {str(n): float(w) for n, (_, w) in self._chosen.items() if n > 0},
        }

    def _choose(self, users: ColdUsers, sizes: Sequence[int]) -> dict[int, tuple[int, np.float32]]:
        """The prior (its position) and its weight for every support size.

        The figures of weights are smoothed over neighbouring sizes and weights: what is best moves
        slowly with both, and validation users are few.
        """
        chosen = {0: (len(self._priors) - 1, np.float32(1.0))} if 0 in sizes else {}
        if 0 in sizes:
            alone_P = self._figures(self._model, users, 0, self._priors, (1.0,))[:, 0]
            # The last of equals is the prior that knows most.
            chosen[0] = int(np.flatnonzero(alone_P == alone_P.max())[-1]), np.float32(1.0)
        positive = [n for n in sizes if n > 0]
        figures_nPW = np.array(
            [self._figures(self._model, users, n, self._priors, WEIGHTS) for n in positive]
        )
        for n, figures_PW in zip(positive, _smoothed(figures_nPW), strict=True):
            prior, weight = np.argwhere(figures_PW == figures_PW.max())[-1]
            chosen[n] = int(prior), np.float32(WEIGHTS[weight])
        return chosen

    def _figures(
        self,
        model: FoldIn,
        users: ColdUsers,
        n: int,
        priors: Sequence[Method],
        weights: Sequence[float],
    ) -> NDArray[np.float64]:
        """Mean masked nDCG@10 of every blend at one support size, (P, W)."""
        total_PW = np.zeros((len(priors), len(weights)))
        for rows in user_blocks(users):
            support_BS = users.window_UW[rows, :n]
            excluded_BN = excluded_items(users, rows, n, self._candidates_N, "masked")
            relevant_BN = relevant_items(users, rows)
            base_BN = np.zeros(excluded_BN.shape, dtype=np.float32)
            if n > 0:
                base_BN = model(support_BS)
                check_scores(self.name, base_BN, excluded_BN.shape, n)
                base_BN = standardised(base_BN, self._candidates_N)
            for p, prior in enumerate(priors):
                prior_BN = prior.score(support_BS, users.features[rows], n)
                for w, weight in enumerate(weights):
                    scores_BN = base_BN + np.float32(weight if n > 0 else 1.0) * prior_BN
                    figures_BM = user_metrics(scores_BN, excluded_BN, relevant_BN)
                    total_PW[p, w] += figures_BM[:, 0].sum()
        return total_PW / max(users.n_users, 1)


def fitted_priors(data: ColdUserData) -> list[Method]:
    """The popularity priors, the one that knows most last."""
    priors: list[Method] = [Popularity(), LatePopularity()]
    if data.has_user_features:
        priors.append(DemoPop())
    for prior in priors:
        prior.fit(data)
    return priors


def standardised(
    scores_BN: NDArray[np.float32], candidates_N: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Scores with mean 0 and standard deviation 1 over the candidates of every row."""
    among_BC = scores_BN[:, candidates_N]
    mean_B1 = among_BC.mean(axis=1, keepdims=True)
    deviation_B1 = among_BC.std(axis=1, keepdims=True)
    z_BN: NDArray[np.float32] = (scores_BN - mean_B1) / np.maximum(deviation_B1, 1e-12)
    return z_BN


def _smoothed(figures_nPW: NDArray[np.float64]) -> NDArray[np.float64]:
    """Figures averaged 1:2:1 with their neighbours along the sizes and along the weights."""
    for axis in (0, 2):
        width = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(figures_nPW, width, mode="edge")
        lower, upper = (np.delete(padded, ends, axis) for ends in ([-2, -1], [0, 1]))
        figures_nPW = (lower + 2.0 * figures_nPW + upper) / 4.0
    return figures_nPW
