"""Every rating predictor on a world with known structure, and on one without any."""

from collections.abc import Callable

import numpy as np
import pytest

from training.protocols.rating_split import RatingSplits
from training.ratings.bias import BiasModel, GlobalMean
from training.ratings.melu import MeLU
from training.ratings.meta import MetaRatings
from training.ratings.ridge_fold_in import ALSFoldIn, KernelRidge
from training.ratings.tasks import Predict, RatingPredictor

MAKE: dict[str, Callable[[], RatingPredictor]] = {
    "bias": BiasModel,
    "als": ALSFoldIn,
    "kernel-ridge": KernelRidge,
    "melu": lambda: MeLU(local_rates=(0.1,), max_epochs=5, tasks_a_step=8),
    "ours": lambda: MetaRatings((2,), meta_steps=40, tasks_a_step=16),
}


@pytest.fixture(scope="session")
def learned(splits: RatingSplits) -> dict[str, Predict]:
    """Every predictor, tuned and trained on the world with structure."""
    return {name: trained(make, splits) for name, make in MAKE.items()}


def trained(make: Callable[[], RatingPredictor], splits: RatingSplits) -> Predict:
    predictor = make()
    return predictor.train(splits.test.data, predictor.choose(splits.tuning).settings)


def errors(predict: Predict, splits: RatingSplits) -> dict[str, float]:
    """Mean absolute error by scenario."""
    return {
        name: float(np.abs(predict(held.tasks) - held.rating_BQ).mean())
        for name, held in splits.test.scenarios.items()
    }


@pytest.mark.parametrize("name", MAKE)
def test_a_predictor_beats_the_mean(
    name: str, splits: RatingSplits, learned: dict[str, Predict]
) -> None:
    """Cold users, cold items and both: what the support says is used."""
    mean = errors(trained(GlobalMean, splits), splits)
    found = errors(learned[name], splits)
    assert all(found[scenario] < 0.97 * mean[scenario] for scenario in mean)


@pytest.mark.parametrize("name", MAKE)
def test_permuted_ratings_leave_nothing_to_learn(name: str, permuted: RatingSplits) -> None:
    """With ratings dealt out at random, no predictor is better than the mean: nothing leaks."""
    mean = errors(trained(GlobalMean, permuted), permuted)
    found = errors(trained(MAKE[name], permuted), permuted)
    for scenario, error in found.items():
        assert error > 0.96 * mean[scenario]
        assert error < 1.10 * mean[scenario]


def test_ours_uses_taste_and_content(splits: RatingSplits, learned: dict[str, Predict]) -> None:
    """A hidden taste and genres decide: ours is below levels alone in every scenario."""
    levels, ours = errors(learned["bias"], splits), errors(learned["ours"], splits)
    assert all(ours[scenario] < 0.95 * levels[scenario] for scenario in levels)


def test_predictions_do_not_depend_on_the_company(
    splits: RatingSplits, learned: dict[str, Predict]
) -> None:
    """A task predicted alone is predicted as in a batch."""
    tasks = splits.test.scenarios["user-cold"].tasks
    alone = learned["ours"](tasks.take(np.array([3])))
    assert alone == pytest.approx(learned["ours"](tasks)[3:4])


def test_settings_survive_json(splits: RatingSplits) -> None:
    """What was chosen can be written down and trained with again."""
    import json

    predictor = MAKE["ours"]()
    chosen = predictor.choose(splits.tuning).settings
    again = json.loads(json.dumps(chosen))
    tasks = splits.test.scenarios["both"].tasks
    first = predictor.train(splits.test.data, chosen)(tasks)
    assert predictor.train(splits.test.data, again)(tasks) == pytest.approx(first)
