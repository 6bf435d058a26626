"""Ranking metrics against figures worked out by hand, and the bootstrap against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.metrics import (
    NO_ITEM,
    bootstrap_means,
    hit_rate,
    interval,
    ndcg,
    recall,
    top_items,
    user_metrics,
)


def no_exclusions(scores_BN: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.zeros(scores_BN.shape, dtype=np.bool_)


def test_ndcg_is_what_a_pencil_says() -> None:
    """Hits at ranks 1 and 3 of two relevant items: (1 + 1/2) / (1 + 1/log2(3))."""
    hits = np.array([[True, False, True, False]])
    expected = 1.5 / (1 + 1 / np.log2(3))
    assert ndcg(hits, np.array([2]), 10).tolist() == pytest.approx([expected])


def test_ndcg_ideal_list_holds_at_most_k_items() -> None:
    """With 50 relevant items, ten hits in ten ranks are a perfect list."""
    assert ndcg(np.ones((1, 20), np.bool_), np.array([50]), 10).tolist() == pytest.approx([1.0])


def test_ndcg_counts_no_rank_beyond_k() -> None:
    """A hit at rank 11 is worth nothing at 10."""
    hits = np.zeros((1, 20), np.bool_)
    hits[0, 10] = True
    assert ndcg(hits, np.array([1]), 10).tolist() == [0.0]


def test_recall_is_the_share_of_all_relevant_items() -> None:
    """Three of forty relevant items within the first k ranks are 3/40."""
    hits = np.array([[True, True, True, False, True]])
    assert recall(hits, np.array([40]), 4).tolist() == pytest.approx([3 / 40])


def test_hit_rate_asks_for_one_hit() -> None:
    """1 with a hit within k, 0 without."""
    hits = np.array([[False, True, False], [False, False, True]])
    assert hit_rate(hits, 2).tolist() == [1.0, 0.0]


def test_equal_scores_rank_by_item_code() -> None:
    """Ties go to the smaller code, within the list and at its end."""
    scores = np.array([[1.0, 3.0, 1.0, 3.0, 1.0, 1.0]], dtype=np.float32)
    assert top_items(scores, no_exclusions(scores), 4).tolist() == [[1, 3, 0, 2]]


def test_excluded_items_never_rank() -> None:
    """An excluded item is skipped; where candidates run out the rest is no item."""
    scores = np.array([[5.0, 4.0, 3.0, 2.0]], dtype=np.float32)
    excluded = np.array([[True, False, True, False]])
    assert top_items(scores, excluded, 3).tolist() == [[1, 3, NO_ITEM]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 25), st.integers(0, 10_000))
def test_top_items_equals_a_full_sort(n_items: int, k: int, seed: int) -> None:
    """On scores full of ties the partial selection gives what sorting everything gives."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, size=(5, n_items)).astype(np.float32)
    excluded = rng.random((5, n_items)) < 0.3
    for row in range(5):
        order = sorted(range(n_items), key=lambda i: (bool(excluded[row, i]), -scores[row, i], i))
        expected = [NO_ITEM if excluded[row, i] else i for i in order[:k]]
        assert top_items(scores, excluded, k)[row].tolist() == expected


def test_a_perfect_oracle_scores_one() -> None:
    """Whoever scores by relevance gets 1 in every metric, for up to ten relevant items."""
    rng = np.random.default_rng(0)
    relevant = np.zeros((40, 200), np.bool_)
    for row in range(40):
        relevant[row, rng.choice(200, size=1 + row % 10, replace=False)] = True
    figures = user_metrics(relevant.astype(np.float32), np.zeros_like(relevant), relevant)
    assert figures == pytest.approx(np.ones((40, 3)))


def test_random_scores_are_at_chance() -> None:
    """Random lists find 20/N of the relevant items in 20 ranks."""
    rng = np.random.default_rng(1)
    scores = rng.random((4000, 200))
    relevant = rng.random((4000, 200)) < 0.05
    figures = user_metrics(scores, np.zeros_like(relevant), relevant)
    assert figures[:, 1].mean() == pytest.approx(20 / 200, abs=0.005)


def test_bootstrap_interval_is_that_of_theory() -> None:
    """The interval of a mean is close to ± 1.96 standard errors."""
    rng = np.random.default_rng(2)
    values = rng.normal(3.0, 2.0, size=(400, 1))
    low, high = interval(bootstrap_means([values], rng, resamples=4000)[:, 0])
    error = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - error, abs=0.05)
    assert high == pytest.approx(values.mean() + error, abs=0.05)


def test_bootstrap_pairs_the_columns() -> None:
    """A constant difference between two columns has an interval without width."""
    values = np.random.default_rng(3).random((50, 1))
    means = bootstrap_means([np.hstack([values, values + 0.25])], np.random.default_rng(4))
    low, high = interval(means[:, 1] - means[:, 0])
    assert (low, high) == pytest.approx((0.25, 0.25))


def test_bootstrap_draws_within_groups() -> None:
    """Groups that are constant within themselves leave nothing to chance."""
    groups = [np.full((10, 1), 1.0), np.full((30, 1), 2.0)]
    means = bootstrap_means(groups, np.random.default_rng(5), resamples=100)
    assert means == pytest.approx(np.full((100, 1), 1.75))


def test_bootstrap_repeats_itself() -> None:
    """The same seed gives the same resamples, whatever the block; BLAS rounds by shape."""
    values = [np.random.default_rng(6).random((20, 2))]
    first, second = (
        bootstrap_means(values, np.random.default_rng(7), resamples=100, block=b) for b in (7, 100)
    )
    assert first == pytest.approx(second, rel=1e-12)


def test_bootstrap_refuses_a_group_without_users() -> None:
    """An empty group is named by its size."""
    with pytest.raises(ValueError, match="needs at least one user"):
        bootstrap_means([np.zeros((0, 2))], np.random.default_rng(0))
