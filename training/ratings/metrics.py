"""Errors of predicted ratings, and the order that they give a user's query.

Knows nothing of predictors or splits.

Shape legend: B tasks, Q query rows, M metrics.
"""

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

RATING_ERRORS = ("mae", "rmse")
RATING_METRICS = (*RATING_ERRORS, "ndcg@1", "ndcg@3", "ndcg@5")
"""The columns of `rating_metrics`."""

_CUTS = (1, 3, 5)


class PredictionError(TrainingError):
    """A predictor gave predictions that cannot be measured."""


def graded_ndcg(
    predicted_BQ: NDArray[np.floating], rating_BQ: NDArray[np.floating], k: int
) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain with gains 2^r - 1 over the query, (B,).

    Equal predictions share their ranks' discounts, which is the expectation over a random order:
    a predictor that tells nothing apart gets no credit for the order of the query. A query
    without any gain counts as 1.

    Args:
        predicted_BQ: predictions, higher first.
        rating_BQ: true ratings.
        k: ranks that count.

    Source: Burges et al. (2005) for the gain; McSherry and Najork (2008) for ties.
    """
    rows, size = rating_BQ.shape
    discount_Q = np.where(np.arange(size) < k, 1.0 / np.log2(np.arange(2, size + 2)), 0.0)
    gain_BQ = np.exp2(rating_BQ) - 1.0
    order_BQ = np.argsort(-predicted_BQ, axis=1, kind="stable")
    ranked_BQ = np.take_along_axis(predicted_BQ, order_BQ, axis=1)
    changes_BQ = np.ones((rows, size), dtype=np.bool_)
    changes_BQ[:, 1:] = ranked_BQ[:, 1:] != ranked_BQ[:, :-1]
    group = np.cumsum(changes_BQ.ravel()) - 1
    total = np.bincount(group, np.broadcast_to(discount_Q, (rows, size)).ravel())
    shared_BQ = (total / np.bincount(group))[group].reshape(rows, size)
    gained_B = np.sum(np.take_along_axis(gain_BQ, order_BQ, axis=1) * shared_BQ, axis=1)
    ideal_B = np.sort(gain_BQ, axis=1)[:, ::-1] @ discount_Q
    return np.where(ideal_B > 0, gained_B / np.where(ideal_B > 0, ideal_B, 1.0), 1.0)


def rating_metrics(
    predicted_BQ: NDArray[np.floating], rating_BQ: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Every metric of `RATING_METRICS` for every task, (B, M)."""
    error_BQ = predicted_BQ - rating_BQ
    columns = [np.abs(error_BQ).mean(axis=1), np.sqrt(np.square(error_BQ).mean(axis=1))]
    columns += [graded_ndcg(predicted_BQ, rating_BQ, k) for k in _CUTS]
    return np.stack(columns, axis=1)


def check_predictions(
    name: str, predicted_BQ: NDArray[np.floating], expected: tuple[int, ...]
) -> None:
    """Refuse predictions that cannot be measured.

    Raises:
        PredictionError: wrong shape, or not finite; the message names the predictor.
    """
    if predicted_BQ.shape != expected:
        raise PredictionError(
            f"predictor {name!r}: predictions of shape {predicted_BQ.shape} instead of "
            f"{expected}; it must return one row a task and one column a query item"
        )
    bad = int(np.count_nonzero(~np.isfinite(predicted_BQ)))
    if bad:
        raise PredictionError(
            f"predictor {name!r}: {bad} of {predicted_BQ.size} predictions are not finite; its "
            "training diverged, or it divides by zero"
        )
