"""Cold users and their measurement: what is asked, what is a candidate, what is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.methods import (
    ColdUsers,
    ScoreError,
    cold_users,
    excluded_items,
    measure,
    minimum_positives,
    relevant_items,
)
from training.tasks import Histories, from_pairs

N_ITEMS = 8


@pytest.fixture
def histories() -> Histories:
    """User 0: items 0..5; user 1: three items; user 2: the unknown item 7 in the query."""
    rows = {0: [0, 1, 2, 3, 4, 5], 1: [0, 1, 2], 2: [5, 4, 3, 7, 2]}
    users = np.concatenate([np.full(len(items), u) for u, items in rows.items()])
    return from_pairs(users, np.concatenate(list(rows.values())), 3, N_ITEMS)


@pytest.fixture
def candidates() -> NDArray[np.bool_]:
    return np.arange(N_ITEMS) < 7


@pytest.fixture
def users(histories: Histories, candidates: NDArray[np.bool_]) -> ColdUsers:
    return cold_users(histories, csr_matrix(np.ones((3, 1), np.float32)), 3, candidates)


def test_users_need_a_window_and_a_query() -> None:
    """25 positives for a window of 20, 5 for one of 3."""
    assert [minimum_positives(w) for w in (20, 3)] == [25, 5]


def test_a_cold_user_has_a_window_then_a_query(users: ColdUsers) -> None:
    """Too short users are left out; the query is what follows the window, in time order."""
    assert users.window_UW.tolist() == [[0, 1, 2], [5, 4, 3]]
    assert users.query.items(0).tolist() == [3, 4, 5]


def test_a_query_holds_candidates_alone(users: ColdUsers) -> None:
    """An item without a training positive is not asked for."""
    assert users.query.items(1).tolist() == [2]


def test_a_user_whose_query_is_unknown_is_left_out(histories: Histories) -> None:
    """Where no query item is a candidate there is nothing to measure."""
    features = csr_matrix(np.ones((3, 1), np.float32))
    known = np.isin(np.arange(N_ITEMS), [0, 1, 2])
    assert cold_users(histories, features, 3, known).window_UW.tolist() == [[5, 4, 3]]


def test_masked_removes_the_window_and_literal_the_support(
    users: ColdUsers, candidates: NDArray[np.bool_]
) -> None:
    """At n = 1 the masked view excludes the window, the literal view the one support item."""
    rows = np.array([0])
    masked = excluded_items(users, rows, 1, candidates, "masked")
    literal = excluded_items(users, rows, 1, candidates, "literal")
    assert np.flatnonzero(masked[0]).tolist() == [0, 1, 2, 7]
    assert np.flatnonzero(literal[0]).tolist() == [0, 7]


def test_measure_gives_the_support_in_time_order(
    users: ColdUsers, candidates: NDArray[np.bool_]
) -> None:
    """A method at n = 2 sees the first two items of every user, and nothing at n = 0."""
    seen = []

    def score(support_BS: NDArray[np.int32], features: csr_matrix, n: int) -> NDArray[np.float32]:
        seen.append(support_BS.tolist())
        return np.zeros((len(support_BS), N_ITEMS), np.float32)

    for n in (0, 2):
        measure("spy", score, users, candidates, n)
    assert seen == [[[], []], [[0, 1], [5, 4]]]


def test_a_perfect_oracle_scores_one_in_both_views(
    users: ColdUsers, candidates: NDArray[np.bool_]
) -> None:
    """Scores that equal relevance are perfect at every size, in the order of the users."""
    relevant = relevant_items(users, np.arange(2)).astype(np.float32)
    figures = measure("oracle", lambda s, f, n: relevant, users, candidates, 1)
    assert figures == pytest.approx(np.ones((2, 2, 3)))


def test_nan_scores_name_the_method(users: ColdUsers, candidates: NDArray[np.bool_]) -> None:
    """A method that gives NaN is an error with its name, not a row of the table."""
    scores = np.zeros((2, N_ITEMS), np.float32)
    scores[1, 3] = np.nan
    with pytest.raises(ScoreError, match="method 'broken' at n=1: 1 of 16 scores are NaN"):
        measure("broken", lambda s, f, n: scores, users, candidates, 1)


def test_scores_of_a_wrong_shape_name_the_method(
    users: ColdUsers, candidates: NDArray[np.bool_]
) -> None:
    """Both shapes are in the message."""
    with pytest.raises(ScoreError, match=r"method 'short'.*\(2, 3\) instead of \(2, 8\)"):
        measure("short", lambda s, f, n: np.zeros((2, 3), np.float32), users, candidates, 0)
