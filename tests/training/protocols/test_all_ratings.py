"""The cold-user protocol with low ratings in the support: who gets them, and what they change."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.datasets import Dataset
from training.errors import DataError, SettingError
from training.evaluate import Evaluation
from training.methods import ColdUserData, excluded_items
from training.protocols.cold_user import run_cold_user, split_cold_users
from training.protocols.protocol import Request
from training.protocols.registry import METHODS, MethodSpec, find_methods


class Avoiding:
    """Puts what is like the low ratings last: items of the other half of the catalogue first."""

    name = "avoiding"

    def fit(self, data: ColdUserData) -> None:
        assert data.train_low is not None
        self._n_items = data.n_items

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        raise AssertionError("low ratings are known, and not given")

    def score_rated(
        self,
        support_BS: NDArray[np.int32],
        low_BL: NDArray[np.int32],
        value_BL: NDArray[np.float32],
        features: csr_matrix,
        n: int,
    ) -> NDArray[np.float32]:
        assert ((low_BL >= 0) == (value_BL == 1.0)).all()
        half = self._n_items // 2
        disliked_B = np.where(low_BL[:, :1] >= half, 1.0, -1.0) if low_BL.size else 0.0
        side_N = np.where(np.arange(self._n_items) < half, 1.0, -1.0)
        scores_BN = np.ones((len(support_BS), 1)) * disliked_B * side_N
        return scores_BN.astype(np.float32)

    def settings(self) -> dict[str, Any]:
        return {}


def evaluate(dataset: Dataset, supports: str) -> Evaluation:
    specs = [
        *find_methods(["popularity", "item-knn"], METHODS),
        *([MethodSpec("avoiding", Avoiding, is_baseline=False)] if supports != "positives" else []),
    ]
    return run_cold_user(Request(dataset, [0], options={"supports": supports}, resamples=50), specs)


def test_low_ratings_reach_the_methods_that_use_them(rated: Dataset) -> None:
    """From the low ratings alone the taste is known from the first click on, and not before."""
    found = evaluate(rated, "all-ratings")
    assert found.protocol == "cold-user, all-ratings"
    none, one = (c.mean for c in found.row("avoiding", "masked", "recall@20")[:2])
    chance = found.row("popularity", "masked", "recall@20")[0].mean
    assert one > 1.4 * max(none, chance)


def test_methods_that_ignore_them_see_the_same_positives(rated: Dataset) -> None:
    """Their lists change only by what is no candidate any more, which was never relevant."""
    plain, known = (evaluate(rated, s) for s in ("positives", "all-ratings"))
    before, after = (f.row("popularity", "masked", "ndcg@10") for f in (plain, known))
    assert all(b.mean >= a.mean for a, b in zip(before, after, strict=True))
    assert "item-knn" in known.methods


def test_what_was_rated_low_is_no_candidate(rated: Dataset) -> None:
    """Literal: low ratings before the n-th positive. Masked: those within the window."""
    split = split_cold_users(rated, seed=0, window=3, all_ratings=True)
    rows, candidates = np.arange(4), split.data.candidates_N
    assert split.test.low is not None
    for view, n in (("literal", 2), ("masked", 3)):
        excluded_BN = excluded_items(split.test, rows, 2, candidates, view)
        low_BL, _ = split.test.low.take(rows).before(n)
        assert low_BL.shape == (4, n)
        assert np.take_along_axis(excluded_BN, low_BL, axis=1).all()
        assert (excluded_BN.sum(axis=1) == 2 * n + np.count_nonzero(~candidates)).all()


def test_data_without_low_ratings_is_refused(tastes: Dataset) -> None:
    """The message says that there is nothing to add."""
    with pytest.raises(DataError, match="nothing is rated low"):
        evaluate(tastes, "all-ratings")


def test_a_wrong_support_is_named(rated: Dataset) -> None:
    """The message has the value and what is allowed."""
    with pytest.raises(SettingError, match="--supports is 'some'; it must be one of positives"):
        evaluate(rated, "some")
