"""Errors and graded nDCG of predicted ratings."""

import numpy as np
import pytest

from training.ratings.metrics import (
    RATING_METRICS,
    PredictionError,
    check_predictions,
    graded_ndcg,
    rating_metrics,
)


def test_errors_and_order_of_a_known_example() -> None:
    """One user, three ratings: off by 1, 0 and 2; the first rank is right."""
    rating = np.array([[5.0, 3.0, 1.0]])
    predicted = np.array([[4.0, 3.0, 3.0]])
    found = dict(zip(RATING_METRICS, rating_metrics(predicted, rating)[0], strict=True))
    assert found["mae"] == pytest.approx(1.0)
    assert found["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert found["ndcg@1"] == pytest.approx(1.0)
    # The last two are tied, so each gets the mean of the second and third discounts.
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    shared = (second + third) / 2
    ideal = 31 + 7 * second + 1 * third
    assert found["ndcg@3"] == pytest.approx((31 + (7 + 1) * shared) / ideal)


def test_the_right_order_is_worth_one() -> None:
    """Whatever the scale of the predictions."""
    rating = np.array([[1.0, 5.0, 4.0, 2.0]])
    assert graded_ndcg(rating / 10 - 3, rating, 3) == pytest.approx([1.0])


def test_equal_predictions_get_the_mean_over_orders() -> None:
    """Telling nothing apart is worth what a random order is worth, wherever the best item is."""
    rng = np.random.default_rng(0)
    rating = rng.integers(1, 6, (1, 5)).astype(float)
    constant = graded_ndcg(np.zeros((1, 5)), rating, 3)[0]
    orders = np.stack([rng.permutation(5) for _ in range(4000)]).astype(float)
    shuffled = graded_ndcg(orders, np.repeat(rating, 4000, axis=0), 3).mean()
    assert constant == pytest.approx(shuffled, abs=0.01)


def test_a_query_without_gain_counts_as_one() -> None:
    """All ratings 0: every order is ideal."""
    assert graded_ndcg(np.array([[1.0, 2.0]]), np.zeros((1, 2)), 1) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (np.zeros((2, 3)), r"'odd': predictions of shape \(2, 3\) instead of \(2, 2\)"),
        (np.array([[1.0, np.nan], [1.0, np.inf]]), "'odd': 2 of 4 predictions are not finite"),
    ],
)
def test_predictions_that_cannot_be_measured_are_refused(
    predicted: np.ndarray, message: str
) -> None:
    """A wrong shape, NaN and infinity name the predictor."""
    with pytest.raises(PredictionError, match=message):
        check_predictions("odd", predicted, (2, 2))
