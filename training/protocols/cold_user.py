"""Protocol P1, cold user: rank the full catalogue for users that training never saw.

Knows nothing of any method's insides.

Users with a positive interaction are split 70/10/20 at random by the seed. A test user's first
`window` positives, in time order, give the supports (the first n of them), the positives after the
window are the query, so one query serves every n. Candidates are the items with a training
positive, minus the support ("literal") or minus the whole window ("masked", the primary view);
query items that are no candidates are left out. Methods are fitted to training users, choose their
settings on validation users by the same measure, and are given test users only to score them.

With `--supports all-ratings` the support also holds what the user rated low before the n-th
positive, for the methods that make use of it; having been seen, it is no candidate for any.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.datasets import Dataset
from training.errors import DataError, SettingError
from training.evaluate import Evaluation, Measures, MethodRun
from training.low_ratings import LowRatings, low_ratings
from training.methods import (
    VIEWS,
    ColdUserData,
    ColdUsers,
    Method,
    cold_users,
    measure,
    minimum_positives,
    rated_scorer,
    validation_users,
)
from training.protocols.protocol import Request, run_methods
from training.protocols.registry import METHODS, MethodSpec, find_methods
from training.protocols.run_store import library_versions
from training.protocols.user_data import (
    check_disjoint,
    chosen_window,
    dataset_facts,
    method_data,
    support_sizes,
    validation_figures,
)
from training.summary import summarise
from training.tasks import Histories, automatic_window, positives, split_users

PROTOCOL = "cold-user"
ALL_RATINGS = "all-ratings"
SUPPORTS = ("positives", ALL_RATINGS)
"""What a support may hold; the first is the headline."""


@dataclass(frozen=True)
class ColdUserSplit:
    """One seed's split: what methods may learn from, and whom they are tested on."""

    data: ColdUserData
    test: ColdUsers
    test_codes: NDArray[np.integer]
    """Codes of all held-out users, those too short to be measured included."""


def parse_supports(text: str) -> bool:
    """Whether low ratings come along.

    Raises:
        SettingError: it is neither `positives` nor `all-ratings`.
    """
    if text not in SUPPORTS:
        raise SettingError(f"--supports is {text!r}; it must be one of {', '.join(SUPPORTS)}")
    return text == ALL_RATINGS


def split_cold_users(
    dataset: Dataset, seed: int, window: int | None = None, *, all_ratings: bool = False
) -> ColdUserSplit:
    """Split a data set for one seed.

    Args:
        dataset: the data set.
        seed: of the split; methods get it too.
        window: largest support; None: 20 where at least half of the users with five positives or
            more have 25, else 3.
        all_ratings: whether low ratings come along.

    Raises:
        DataError: no validation or no test user has enough positives, or nothing is rated low.
    """
    histories = positives(dataset)
    window = automatic_window(histories.lengths_U) if window is None else window
    return _split(dataset, histories, seed, window, _low(dataset) if all_ratings else None)


def _low(dataset: Dataset) -> LowRatings:
    found = low_ratings(dataset)
    if not len(found.item_E):
        raise DataError(
            f"{dataset.name}: nothing is rated low (every interaction is a positive, or has no "
            f"value), so --supports {ALL_RATINGS} has nothing to add"
        )
    return found


def _split(
    dataset: Dataset, histories: Histories, seed: int, window: int, low: LowRatings | None
) -> ColdUserSplit:
    users = np.flatnonzero(histories.lengths_U > 0)
    parts = split_users(users, np.random.default_rng(seed))
    return build_split(dataset, histories, parts, seed, window, low)


def build_split(
    dataset: Dataset,
    histories: Histories,
    parts: tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]],
    seed: int,
    window: int,
    low: LowRatings | None = None,
) -> ColdUserSplit:
    """`split_cold_users` for given user codes of train, validation and test.

    Feature statistics come from training users, and from items with a training positive, alone.

    Raises:
        DataError: a user is in two parts, or no user can be measured.
    """
    train, validation, test = parts
    check_disjoint(dataset, train, validation, test)
    data, features = method_data(dataset, histories, train, validation, seed, window, low)
    held_out = cold_users(
        histories.take(test),
        features[test],
        window,
        data.candidates_N,
        None if low is None else low.take(test),
    )
    for part, found in (("validation", validation_users(data)), ("test", held_out)):
        if found.n_users == 0:
            raise DataError(
                f"{dataset.name}: no {part} user has {minimum_positives(window)} positive "
                f"interactions, which a window of {window} needs; give more data or a smaller "
                "--window"
            )
    return ColdUserSplit(data, held_out, test)


def run_method(
    spec: MethodSpec[Method],
    split: ColdUserSplit,
    clock: Callable[[], float] = time.perf_counter,
) -> MethodRun:
    """Fit one method, then measure it on the validation and the test users at every size."""
    data = split.data
    method = spec.make()
    started_s = clock()
    method.fit(data)
    fitted_s = clock()
    rated = rated_scorer(method)
    figures_nVUM = np.stack(
        [
            measure(spec.name, method.score, split.test, data.candidates_N, n, VIEWS, rated)
            for n in data.sizes
        ]
    )
    scored_s = clock()
    return MethodRun(
        method=spec.name,
        seed=data.seed,
        figures_nVUM=figures_nVUM,
        validation_n=validation_figures(spec.name, method, data),
        settings=method.settings(),
        fit_s=fitted_s - started_s,
        score_s=scored_s - fitted_s,
    )


class ColdUserProtocol:
    """`--protocol cold-user`."""

    name = PROTOCOL
    summary = "users that training never saw, after n of their interactions"
    options = ("window", "supports")
    methods = tuple(spec.name for spec in METHODS)

    def run(self, request: Request) -> Evaluation:
        """As `EvaluationProtocol.run`."""
        return run_cold_user(request, find_methods(request.methods, METHODS))


def run_cold_user(request: Request, methods: Sequence[MethodSpec[Method]]) -> Evaluation:
    """Run the protocol for every method on every seed.

    Args:
        request: its `methods` are not looked at.
        methods: what to compare; names differ.

    Raises:
        DataError: no user can be measured.
        SettingError: no seed, no method, or two of one name.
        ScoreError: a method's scores cannot be ranked.
    """
    dataset = request.dataset
    histories = positives(dataset)
    window = chosen_window(request.options.get("window", "auto"), histories)
    supports = request.options.get("supports", SUPPORTS[0])
    low = _low(dataset) if parse_supports(supports) else None
    runs = run_methods(
        request,
        methods,
        protocol=PROTOCOL,
        conditions={"window": window, "supports": supports},
        code=("protocols/cold_user.py", "protocols/user_data.py"),
        split=lambda seed: _split(dataset, histories, seed, window, low),
        run=run_method,
    )
    return summarise(
        runs,
        protocol=PROTOCOL if low is None else f"{PROTOCOL}, {ALL_RATINGS}",
        dataset=dataset_facts(dataset, histories),
        window=window,
        measures=Measures(support_sizes(window)),
        baselines=[spec.name for spec in methods if spec.is_baseline],
        versions=library_versions(),
        settings={"window": window, "supports": supports},
        resamples=request.resamples,
    )
