"""Popularity priors: rates worked out by hand, and DemoPop on users who differ by a feature."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tests.training.worlds import GROUP, checkerboard_data
from training.baselines.demo_pop import DemoPop
from training.baselines.popularity import LatePopularity, Popularity, Random, late_rates, log_rate
from training.methods import ColdUserData
from training.tasks import from_pairs

NOBODY = np.empty((2, 0), dtype=np.int32)


@pytest.fixture
def revealing_data() -> ColdUserData:
    """The checkerboard with a feature that says the taste of training and validation users."""
    data = checkerboard_data()

    def features(users: int) -> csr_matrix:
        parity = np.arange(users) % 2
        return csr_matrix(
            np.stack([np.ones(users), 1.0 - parity, parity], axis=1, dtype=np.float32)
        )

    return replace(data, train_features=features(200), validation_features=features(20))


def test_late_rates_count_before_and_after_the_window() -> None:
    """Of users beyond the window: who had an item early, who late; plus the pseudo-users' part."""
    users = np.array([0, 0, 0, 1, 1, 1, 2])
    items = np.array([0, 1, 2, 1, 0, 2, 3])
    early, late = late_rates(from_pairs(users, items, 3, 4), window=2)
    assert early * 12 == pytest.approx([2, 2, 0, 0])
    assert late * 12 == pytest.approx([10 * 2 / 3, 10 * 2 / 3, 2 + 10 * 2 / 3, 10 / 3])


def test_late_rates_fall_back_to_popularity() -> None:
    """Where nobody goes beyond the window the order is that of plain popularity."""
    histories = from_pairs(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 0]), 3, 3)
    early, late = late_rates(histories, window=20)
    assert early.tolist() == [0.0, 0.0, 0.0]
    assert late == pytest.approx([1.0, 1 / 3, 0.0])


def test_late_popularity_prefers_what_is_taken_late_by_those_who_lack_it() -> None:
    """An item that half the users took early is as likely late as one that fewer lack."""
    rate = log_rate(np.array([0.2, 0.2]), np.array([0.5, 1.0]))
    assert rate.tolist() == pytest.approx([np.log(0.4), np.log(0.2)], rel=1e-5)


def test_priors_ignore_the_support() -> None:
    """Popularity and late popularity give every user the same scores."""
    data = checkerboard_data()
    for prior in (Popularity(), LatePopularity()):
        prior.fit(data)
        support = np.array([[0], [30]], dtype=np.int32)
        scores = prior.score(support, data.validation_features[:2], 1)
        assert np.array_equal(scores[0], scores[1])


def test_random_scores_repeat_for_the_same_seed() -> None:
    """Random differs between sizes and seeds, never between two calls."""
    data = checkerboard_data()
    method = Random()
    method.fit(data)
    first, again = (method.score(NOBODY, data.validation_features[:2], 0) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, method.score(NOBODY, data.validation_features[:2], 1))


def test_demo_pop_ranks_the_taste_that_the_features_say(revealing_data: ColdUserData) -> None:
    """Without any support a user is shown the items of their feature's taste."""
    method = DemoPop()
    method.fit(revealing_data)
    scores = method.score(NOBODY, revealing_data.validation_features[:2], 0)
    assert set(np.argsort(-scores[0])[:GROUP]) == set(range(GROUP))
    assert set(np.argsort(-scores[1])[:GROUP]) == set(range(GROUP, 2 * GROUP))


def test_demo_pop_without_features_is_late_popularity() -> None:
    """The intercept alone moves nothing."""
    data = checkerboard_data()
    demo, late = DemoPop(), LatePopularity()
    demo.fit(data)
    late.fit(data)
    features = data.validation_features[:2]
    assert demo.score(NOBODY, features, 0) == pytest.approx(late.score(NOBODY, features, 0))


def test_demo_pop_treats_an_average_user_as_everyone(revealing_data: ColdUserData) -> None:
    """Features are centred: the mean feature vector gives late popularity."""
    demo, late = DemoPop(), LatePopularity()
    demo.fit(revealing_data)
    late.fit(revealing_data)
    average = csr_matrix(np.full((2, 3), 0.5, np.float32) + np.array([0.5, 0, 0], np.float32))
    assert demo.score(NOBODY, average, 0) == pytest.approx(late.score(NOBODY, average, 0), abs=1e-4)


def test_demo_pop_keeps_the_most_frequent_features(
    revealing_data: ColdUserData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit in memory is left out, the rarest first."""
    monkeypatch.setattr("training.baselines.demo_pop._MAX_POSITIONS", 1)
    method = DemoPop()
    method.fit(revealing_data)
    assert method.settings()["feature_positions"] == 1
