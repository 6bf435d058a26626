"""Protocol P5, ratings: predict ratings of cold users and items, as the literature measures it.

Knows nothing of any predictor's insides, nor of how users and items are held out
(`rating_split`, which says precisely what the four scenarios are).

Errors are measured twice: of the predictions as they are, and ("-median") after a strictly
monotone map that is learned for absolute error on the tuning tasks, one for warm and one for cold
items, for every predictor alike. The map leaves the order, and so every nDCG, as it is.
MAE, RMSE and nDCG (gain 2^r - 1) are of a user's ten queries, then averaged over users.

Shape legend: V scenarios, U users of the data set, B tasks, Q query rows, M metrics.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.datasets import Dataset
from training.evaluate import Evaluation, Measures, MethodRun
from training.protocols.protocol import Request, run_methods
from training.protocols.rating_split import (
    MOST,
    PROTOCOLS,
    QUERY,
    SCENARIOS,
    RatingSplits,
    rating_table,
    split_ratings,
)
from training.protocols.registry import MethodSpec, find_methods
from training.protocols.run_store import library_versions
from training.ratings.bias import BiasModel, GlobalMean
from training.ratings.metrics import (
    RATING_ERRORS,
    RATING_METRICS,
    check_predictions,
    rating_metrics,
)
from training.ratings.ridge_fold_in import ALSFoldIn, KernelRidge
from training.ratings.tasks import (
    REGIMES,
    HeldOut,
    Predict,
    RatingPredictor,
    RatingSplit,
    regime,
    tuning_tasks,
)
from training.summary import summarise

if TYPE_CHECKING:
    from training.ratings.monotone import MonotoneMap

MEASURES = Measures(
    sizes=(MOST - QUERY,),
    views=SCENARIOS,
    metrics=(*RATING_METRICS, *(f"{name}-median" for name in RATING_ERRORS)),
    lower_is_better=(*RATING_ERRORS, *(f"{name}-median" for name in RATING_ERRORS)),
    size_title="ratings at most",
)


def _melu() -> RatingPredictor:
    # Imported here: torch takes a second, and `--help` does without.
    from training.ratings.melu import MeLU

    return MeLU()


def _ours() -> RatingPredictor:
    from training.ratings.meta import MetaRatings

    return MetaRatings()


PREDICTORS: tuple[MethodSpec[RatingPredictor], ...] = (
    MethodSpec("global-mean", GlobalMean, is_baseline=True),
    MethodSpec("bias", BiasModel, is_baseline=True),
    MethodSpec("als", ALSFoldIn, is_baseline=True),
    MethodSpec("kernel-ridge", KernelRidge, is_baseline=True),
    MethodSpec("melu", _melu, is_baseline=True),
    MethodSpec("ours", _ours, is_baseline=False),
)


def run_predictor(
    spec: MethodSpec[RatingPredictor],
    splits: RatingSplits,
    clock: Callable[[], float] = time.perf_counter,
) -> MethodRun:
    """Tune and train one predictor, then measure it on every scenario.

    Units are all users of the data set, NaN where a scenario has no task of them.

    Raises:
        PredictionError: predictions have a wrong shape or are not numbers.
    """
    predictor = spec.make()
    started_s = clock()
    chosen = predictor.choose(splits.tuning)
    maps = median_maps(spec.name, chosen.predict, splits.tuning)
    predict = predictor.train(splits.test.data, chosen.settings)
    fitted_s = clock()
    data = splits.test.data
    shape = (1, len(SCENARIOS), data.n_users, len(MEASURES.metrics))
    figures_nVUM = np.full(shape, np.nan)
    for v, name in enumerate(SCENARIOS):
        held = splits.test.scenarios[name]
        figures_nVUM[0, v, held.tasks.user_B] = _measure(
            spec.name, predict, held, maps[regime(held.tasks, data.counts_N)]
        )
    watched = splits.tuning.scenarios[SCENARIOS[0]]
    validation_BM = rating_metrics(chosen.predict(watched.tasks), watched.rating_BQ)
    return MethodRun(
        method=spec.name,
        seed=data.seed,
        figures_nVUM=figures_nVUM,
        validation_n=validation_BM[:, 0].mean(keepdims=True),
        settings=chosen.settings,
        fit_s=fitted_s - started_s,
        score_s=clock() - fitted_s,
    )


def median_maps(name: str, predict: Predict, tuning: RatingSplit) -> "dict[str, MonotoneMap]":
    """The map for absolute error of each regime, from held-out users and items."""
    from training.ratings.monotone import fit_monotone

    maps = {}
    for wanted in REGIMES:
        tasks = tuning_tasks(tuning, wanted)
        predicted = [predict(held.tasks) for held in tasks]
        for found, held in zip(predicted, tasks, strict=True):
            check_predictions(name, found, held.rating_BQ.shape)
        maps[wanted] = fit_monotone(
            np.concatenate(predicted), np.concatenate([held.rating_BQ for held in tasks])
        )
    return maps


def _measure(
    name: str, predict: Predict, held: HeldOut, median: "MonotoneMap"
) -> NDArray[np.float64]:
    """All metrics of every task, (B, M)."""
    predicted_BQ = predict(held.tasks)
    check_predictions(name, predicted_BQ, held.rating_BQ.shape)
    plain_BM = rating_metrics(predicted_BQ, held.rating_BQ)
    mapped_BM = rating_metrics(median(predicted_BQ), held.rating_BQ)
    return np.concatenate([plain_BM, mapped_BM[:, : len(RATING_ERRORS)]], axis=1)


_CODE = ("protocols/ratings.py", "protocols/rating_split.py", "ratings/")


class RatingsProtocol:
    """`--protocol ratings`, and `ratings-new-items`."""

    options: tuple[str, ...] = ()
    methods = tuple(spec.name for spec in PREDICTORS)

    def __init__(self, name: str) -> None:
        self.name = name
        which = "the newest items" if name == PROTOCOLS[1] else "random items"
        self.summary = f"predict ratings: users and {which} held out, and both at once"

    def run(self, request: Request) -> Evaluation:
        """As `EvaluationProtocol.run`."""
        return run_ratings(request, find_methods(request.methods, PREDICTORS), self.name)


def run_ratings(
    request: Request, predictors: Sequence[MethodSpec[RatingPredictor]], protocol: str
) -> Evaluation:
    """Run the protocol for every predictor on every seed.

    Raises:
        DataError: no ratings, no release year where one is needed, or too few ratings.
        SettingError: a wrong seed or method.
        PredictionError: predictions have a wrong shape or are not numbers.
    """
    facts = _facts(request.dataset)
    runs = run_methods(
        request,
        predictors,
        protocol=protocol,
        conditions={},
        code=_CODE,
        split=lambda seed: split_ratings(request.dataset, seed, protocol),
        run=run_predictor,
    )
    return summarise(
        runs,
        protocol=protocol,
        dataset=facts,
        window=MOST - QUERY,
        measures=MEASURES,
        baselines=[spec.name for spec in predictors if spec.is_baseline],
        versions=library_versions(),
        resamples=request.resamples,
    )


def _facts(dataset: Dataset) -> Mapping[str, Any]:
    table = rating_table(dataset)
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": len(dataset.interactions),
        "positives": len(table),
        "positive_rule": "every rating",
    }
