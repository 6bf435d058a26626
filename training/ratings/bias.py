"""Predictors that know levels alone: the global mean, and biases of items and users.

Knows nothing of latent factors or content.

Shape legend: E ratings, B tasks, S support rows, Q query rows, U users, N items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.baselines.search import search
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

_SWEEPS = 10


@dataclass(frozen=True, slots=True)
class Biases:
    """Rating = mean + item bias + user bias, regularised."""

    mean: float
    item_N: NDArray[np.float64]
    """0 for an item without ratings."""
    user_U: NDArray[np.float64]
    """0 for a user without ratings."""

    def base(self, item: NDArray[np.integer]) -> NDArray[np.float64]:
        """Mean plus item bias for item codes of any shape."""
        level: NDArray[np.float64] = self.mean + self.item_N[item]
        return level

    def residual_E(self, data: RatingData) -> NDArray[np.float64]:
        """What the biases leave of every training rating."""
        t = data.ratings
        left: NDArray[np.float64] = t.rating_E - self.base(t.item_E) - self.user_U[t.user_E]
        return left


def fit_biases(data: RatingData, item_strength: float, user_strength: float) -> Biases:
    """Alternate the regularised means of items and users.

    Args:
        data: training ratings.
        item_strength: ratings that an item's bias is shrunk by, as if they were average.
        user_strength: the same for users.

    Source: Koren (2010), Factor in the Neighbors, section 2.1.
    """
    t = data.ratings
    mean = float(t.rating_E.mean())
    item_N, user_U = np.zeros(data.n_items), np.zeros(data.n_users)
    items_N = np.bincount(t.item_E, minlength=data.n_items) + item_strength
    users_U = np.bincount(t.user_E, minlength=data.n_users) + user_strength
    for _ in range(_SWEEPS):
        left_E = t.rating_E - mean - user_U[t.user_E]
        item_N = np.bincount(t.item_E, left_E, data.n_items) / items_N
        left_E = t.rating_E - mean - item_N[t.item_E]
        user_U = np.bincount(t.user_E, left_E, data.n_users) / users_U
    return Biases(mean, item_N, user_U)


def support_residuals(biases: Biases, tasks: RatingTasks) -> NDArray[np.float64]:
    """Support ratings minus mean and item bias, 0 where there is padding, (B, S)."""
    left_BS = tasks.support_rating_BS - biases.base(tasks.support_item_BS)
    return np.where(tasks.given_BS, left_BS, 0.0)


def fold_in_bias(biases: Biases, tasks: RatingTasks, strength: float) -> NDArray[np.float64]:
    """Regularised user bias from the support, (B,)."""
    total_B = support_residuals(biases, tasks).sum(axis=1)
    bias_B: NDArray[np.float64] = total_B / (tasks.given_BS.sum(axis=1) + strength)
    return bias_B


class GlobalMean:
    """The mean of all training ratings."""

    name = "global-mean"

    def choose(self, tuning: RatingSplit) -> Chosen:
        return Chosen({}, self.train(tuning.data, {}))

    def train(self, data: RatingData, settings: Mapping[str, Any]) -> Predict:
        mean = float(data.ratings.rating_E.mean())
        return lambda tasks: np.full(tasks.query_item_BQ.shape, mean)


class BiasModel:
    """Mean, item bias, and a user bias folded in from the support."""

    name = "bias"
    axes: Mapping[str, Sequence[float]] = {
        "item": (1.0, 3.0, 5.0, 10.0, 20.0),
        "user": (3.0, 8.0, 15.0),
        "fold_in": (0.3, 1.0, 2.0, 3.0, 5.0, 8.0),
    }
    starts: Sequence[Mapping[str, float]] = ({"item": 5.0, "user": 8.0, "fold_in": 3.0},)

    def choose(self, tuning: RatingSplit) -> Chosen:
        settings = {}
        for name in REGIMES:
            tasks = tuning_tasks(tuning, name)
            settings[name], _ = search(
                self.axes,
                self.starts,
                lambda s, tasks=tasks: -mean_error(_model(tuning.data, s), tasks),  # type: ignore[misc]
            )
        return Chosen(settings, self.train(tuning.data, settings))

    def train(self, data: RatingData, settings: Mapping[str, Any]) -> Predict:
        models = {name: _model(data, settings[name]) for name in REGIMES}
        return by_regime(models, data.counts_N)


def _model(data: RatingData, s: Mapping[str, float]) -> Predict:
    biases = fit_biases(data, s["item"], s["user"])

    def predict(tasks: RatingTasks) -> NDArray[np.float64]:
        user_B = fold_in_bias(biases, tasks, s["fold_in"])
        return biases.base(tasks.query_item_BQ) + user_B[:, None]

    return predict
