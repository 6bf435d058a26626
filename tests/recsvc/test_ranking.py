"""Diversity and exploration."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.ranking import diversify, explore

SCORES_C = np.asarray([1.0, 0.99, 0.98, 0.5], dtype=np.float32)
VECTORS_CD = np.asarray([[1, 0], [1, 0], [1, 0.01], [0, 1]], dtype=np.float32)


def test_no_diversity_keeps_the_order() -> None:
    """At 0 the picks are the best scores."""
    assert diversify(SCORES_C, VECTORS_CD, 4, 0.0).tolist() == [0, 1, 2, 3]


def test_diversity_brings_another_direction_forward() -> None:
    """At 0.7 the one item of another direction comes second."""
    assert diversify(SCORES_C, VECTORS_CD, 2, 0.7).tolist() == [0, 3]


@settings(deadline=None)  # the machine may be busy
@given(
    diversity=st.floats(min_value=0, max_value=1),
    k=st.integers(min_value=0, max_value=6),
    seed=st.integers(min_value=0, max_value=100),
)
def test_picks_are_distinct_candidates(diversity: float, k: int, seed: int) -> None:
    """Whatever the diversity, each pick is another candidate, and the best one comes first."""
    rng = np.random.default_rng(seed)
    scores_C = np.sort(rng.normal(size=4).astype(np.float32))[::-1]
    picks = diversify(scores_C, rng.normal(size=(4, 3)).astype(np.float32), k, diversity).tolist()
    assert min(k, 4) == len(set(picks)) == len(picks)
    if picks and diversity < 1:
        assert picks[0] == 0


def test_no_candidates_give_no_picks() -> None:
    """An empty pool is ordinary."""
    empty_C = np.zeros(0, dtype=np.float32)
    assert diversify(empty_C, np.zeros((0, 2), dtype=np.float32), 3, 0.5).tolist() == []


def test_the_same_seed_explores_the_same_way() -> None:
    """A seed fixes the perturbation; another seed gives another."""
    first = explore(SCORES_C, 0, 7)
    np.testing.assert_array_equal(first, explore(SCORES_C, 0, 7))
    assert not np.array_equal(first, explore(SCORES_C, 0, 8))


def test_exploration_samples_the_softmax() -> None:
    """The first place is drawn from softmax(score / 0.5) for a user of whom nothing is known."""
    draws = 20_000
    first = np.asarray([np.argmax(explore(SCORES_C, 0, seed)) for seed in range(draws)])
    weights = np.exp(SCORES_C / 0.5)
    expected = weights / weights.sum()
    np.testing.assert_allclose(expected, np.bincount(first, minlength=4) / draws, atol=0.015)


def test_a_known_user_is_explored_less() -> None:
    """The perturbation shrinks with the support."""
    unknown = np.abs(explore(SCORES_C, 0, 3) - SCORES_C)
    known = np.abs(explore(SCORES_C, 99, 3) - SCORES_C)
    np.testing.assert_allclose(unknown / 10, known, rtol=1e-3, atol=1e-6)
