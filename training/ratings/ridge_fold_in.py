"""Tuned simple predictors: factors by alternating least squares with a ridge fold-in, and the same
with content and user features, as one kernel ridge regression over the support.

Knows nothing of meta-learning: every strength is chosen by search.

Shape legend: B tasks, S support rows, Q query rows, N items, D positions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.baselines.search import search
from training.ratings.bias import Biases, fit_biases
from training.ratings.factors import als
from training.ratings.knowledge import narrow
from training.ratings.side import apply, dense_features, fit_content, ridge
from training.ratings.tasks import (
    REGIMES,
    Chosen,
    Predict,
    RatingData,
    RatingSplit,
    RatingTasks,
    by_regime,
    mean_error,
    tuning_tasks,
)

_ITEM_STRENGTH, _USER_STRENGTH = 5.0, 8.0
_BLOCK = 256

Prior = Callable[[RatingTasks], NDArray[np.float64]]
"""Prior user bias of every task, (B,)."""


def fold_in(
    base_N: NDArray[np.float64],
    space_ND: NDArray[np.float64],
    tasks: RatingTasks,
    prior_B: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Ridge regression of the support's residuals on the items' positions, (B, Q).

    The strength is 1; the weight of a position is in its scale.
    """
    found_BQ = np.empty(tasks.query_item_BQ.shape)
    for start in range(0, len(tasks), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(tasks)))
        part = tasks.take(rows)
        space_BSD = space_ND[part.support_item_BS] * part.given_BS[:, :, None]
        left_BS = part.support_rating_BS - base_N[part.support_item_BS] - prior_B[rows, None]
        left_BS1 = np.where(part.given_BS, left_BS, 0.0)[:, :, None]
        # The same solution either way: the smaller of support and positions is solved for.
        if space_BSD.shape[1] < space_BSD.shape[2]:
            among_BSS = space_BSD @ space_BSD.mT + np.eye(space_BSD.shape[1])
            user_BD1 = space_BSD.mT @ np.linalg.solve(among_BSS, left_BS1)
        else:
            normal_BDD = space_BSD.mT @ space_BSD + np.eye(space_BSD.shape[2])
            user_BD1 = np.linalg.solve(normal_BDD, space_BSD.mT @ left_BS1)
        query = part.query_item_BQ
        found_BQ[rows] = base_N[query] + prior_B[rows, None] + (space_ND[query] @ user_BD1)[:, :, 0]
    return found_BQ


class ALSFoldIn:
    """Item and user bias with factors by alternating least squares, folded in by ridge."""

    name = "als"
    axes: Mapping[str, Sequence[float]] = {
        "dims": (4, 8, 16, 24, 32),
        "strength": (2.5, 5.0, 10.0, 20.0, 40.0),
        "bias": (0.3, 1.0, 2.0, 3.0, 5.0, 8.0),
        "fold_in": (1.0, 2.0, 4.0, 7.0, 12.0, 20.0, 40.0),
    }
    starts: Sequence[Mapping[str, float]] = (
        {"dims": 8, "strength": 10.0, "bias": 3.0, "fold_in": 12.0},
    )

    def choose(self, tuning: RatingSplit) -> Chosen:
        model = _Factored(tuning.data, with_side=False)
        settings = {name: _search(model, self, tuning, name) for name in REGIMES}
        return Chosen(settings, model.predictor(settings))

    def train(self, data: RatingData, settings: Mapping[str, Any]) -> Predict:
        return _Factored(data, with_side=False).predictor(settings)


class KernelRidge:
    """The same, with the content columns as further kernels, levels of cold items from content
    and prior user biases from user features.
    """

    name = "kernel-ridge"
    axes: Mapping[str, Sequence[float]] = {
        **ALSFoldIn.axes,
        "content": (0.0, 0.01, 0.02, 0.04, 0.08, 0.16),
        "features": (0.0, 0.5, 1.0),
    }
    starts: Sequence[Mapping[str, float]] = (
        {**ALSFoldIn.starts[0], "content": 0.04, "features": 0.5},
    )

    def choose(self, tuning: RatingSplit) -> Chosen:
        model = _Factored(tuning.data, with_side=True)
        settings = {name: _search(model, self, tuning, name) for name in REGIMES}
        return Chosen(settings, model.predictor(settings))

    def train(self, data: RatingData, settings: Mapping[str, Any]) -> Predict:
        return _Factored(data, with_side=True).predictor(settings)


def _search(
    model: "_Factored", family: ALSFoldIn | KernelRidge, tuning: RatingSplit, name: str
) -> dict[str, float]:
    tasks = tuning_tasks(tuning, name)
    chosen, _ = search(
        family.axes, family.starts, lambda s: -mean_error(model.predict_with(s), tasks)
    )
    return chosen


class _Factored:
    """Biases, factors (kept by their settings) and side information of one training set."""

    def __init__(self, data: RatingData, *, with_side: bool) -> None:
        self._data = data
        self._with_side = with_side
        self._biases = fit_biases(data, _ITEM_STRENGTH, _USER_STRENGTH)
        self._left_E = self._biases.residual_E(data)
        self._vectors: dict[tuple[int, float], NDArray[np.float64]] = {}
        self._bias_N = self._biases.item_N
        self._content_ND = np.zeros((data.n_items, 0))
        self._feature_bias_U = np.zeros(data.n_users)
        self._cold = np.flatnonzero(data.counts_N == 0) if with_side else np.empty(0, np.int64)
        if with_side:
            self._add_side(self._biases)

    def _add_side(self, biases: Biases) -> None:
        data = self._data
        if len(self._cold):
            self._regression = fit_content(data, biases.item_N, data.seed)
            self._bias_N = biases.item_N.copy()
            level_N1 = biases.item_N[:, None]
            self._bias_N[self._cold] = self._regression.predict(level_N1, self._cold)[:, 0]
        known_N = data.counts_N > 0
        columns = [narrow(matrix, known_N, data.seed) for matrix in data.items.matrices]
        self._content_ND = np.concatenate([self._content_ND, *columns], axis=1)
        users_U = np.unique(data.ratings.user_E)
        features = dense_features(data.users, users_U, least=60)
        weights = ridge(features[users_U], biases.user_U[users_U][:, None], 60.0)
        self._feature_bias_U = apply(features, weights)[:, 0]

    def _factors(self, dims: int, strength: float) -> NDArray[np.float64]:
        if (dims, strength) not in self._vectors:
            found = als(self._data, self._left_E, dims, strength, sweeps=8, seed=self._data.seed)
            vectors_ND = found.item_ND
            if len(self._cold):
                vectors_ND = vectors_ND.copy()
                vectors_ND[self._cold] = self._regression.predict(vectors_ND, self._cold)
            self._vectors[dims, strength] = vectors_ND
        return self._vectors[dims, strength]

    def predict_with(self, s: Mapping[str, float]) -> Predict:
        """The predictor with these settings, for tasks of either regime."""
        vectors_ND = self._factors(int(s["dims"]), s["strength"])
        ones_N1 = np.ones((self._data.n_items, 1))
        space_ND = np.concatenate(
            [
                ones_N1 / np.sqrt(s["bias"]),
                vectors_ND / np.sqrt(s["fold_in"]),
                self._content_ND * np.sqrt(s.get("content", 0.0)),
            ],
            axis=1,
        )
        base_N = self._biases.mean + self._bias_N
        trust = s.get("features", 0.0)

        def predict(tasks: RatingTasks) -> NDArray[np.float64]:
            return fold_in(base_N, space_ND, tasks, trust * self._feature_bias_U[tasks.user_B])

        return predict

    def predictor(self, settings: Mapping[str, Mapping[str, float]]) -> Predict:
        models = {name: self.predict_with(settings[name]) for name in REGIMES}
        return by_regime(models, self._data.counts_N)
