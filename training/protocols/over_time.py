"""Protocol P4, time: fit methods on what lies before the cut, measure them on both groups after it.

Knows nothing of any method's insides, nor of how the cut divides a data set (`time_split`).

Shape legend: n support sizes, V views, U users of the data set, K known users, M metrics.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.evaluate import Evaluation, Measures, MethodRun
from training.methods import (
    VIEWS,
    ColdUsers,
    Method,
    Score,
    check_scores,
    measure,
    relevant_items,
    user_blocks,
)
from training.metrics import METRICS, user_metrics
from training.protocols.protocol import Request, run_methods
from training.protocols.registry import METHODS, MethodSpec, find_methods
from training.protocols.run_store import library_versions
from training.protocols.time_split import (
    DEFAULT_CUT,
    KnownUsers,
    TimeSplit,
    date_text,
    parse_cut,
    split_by_time,
)
from training.protocols.user_data import (
    chosen_window,
    dataset_facts,
    support_sizes,
    validation_figures,
)
from training.summary import summarise
from training.tasks import Histories, positives

PROTOCOL = "time"
TIME_VIEWS = ("new users", "new users, literal", "known users")


def measure_known(
    name: str, score: Score, users: KnownUsers, candidates_N: NDArray[np.bool_], n: int
) -> NDArray[np.float64]:
    """Metrics of every known user whose last n positives are the support, (K, M).

    A user with a shorter past has all of it as the support. A user without a query gets NaN.

    Raises:
        ScoreError: as `training.methods.measure`.
    """
    figures_KM = np.full((users.n_users, len(METRICS)), np.nan)
    wanted = np.flatnonzero(users.query.lengths_U > 0)
    chosen = ColdUsers(
        _last(users.past.take(wanted), n), users.query.take(wanted), users.features[wanted]
    )
    for rows in user_blocks(chosen):
        scores_BN = score(chosen.window_UW[rows], chosen.features[rows], n)
        check_scores(name, scores_BN, (len(rows), len(candidates_N)), n)
        excluded_BN = np.repeat(~candidates_N[None, :], len(rows), axis=0)
        past = users.past.take(wanted[rows])
        excluded_BN[past.user_E, past.item_E] = True
        figures_KM[wanted[rows]] = user_metrics(
            scores_BN, excluded_BN, relevant_items(chosen, rows)
        )
    return figures_KM


def _last(histories: Histories, n: int) -> NDArray[np.int32]:
    """The last n items of every user, oldest first, (U, n), padded behind."""
    lengths_U = histories.lengths_U
    return histories.prefix(np.maximum(lengths_U - n, 0), lengths_U).padded(n)


def run_method(
    spec: MethodSpec[Method],
    split: TimeSplit,
    clock: Callable[[], float] = time.perf_counter,
) -> MethodRun:
    """Fit one method, then measure it on new and on known users at every size.

    Units are all users of the data set, so that they are the same for every seed.
    """
    data = split.data
    method = spec.make()
    started_s = clock()
    method.fit(data)
    fitted_s = clock()
    shape = (len(data.sizes), len(TIME_VIEWS), split.n_users, len(METRICS))
    figures_nVUM = np.full(shape, np.nan)
    for i, n in enumerate(data.sizes):
        new_VUM = measure(spec.name, method.score, split.new, data.candidates_N, n)
        figures_nVUM[i, : len(VIEWS), split.new_codes] = new_VUM.swapaxes(0, 1)
        known_KM = measure_known(spec.name, method.score, split.known, data.candidates_N, n)
        figures_nVUM[i, len(VIEWS), split.known_codes] = known_KM
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


_CODE = tuple(f"protocols/{name}.py" for name in ("over_time", "time_split", "user_data"))


class TimeProtocol:
    """`--protocol time`."""

    name = PROTOCOL
    summary = "one global cut: learn from before it, rank for new and for known users after it"
    options = ("window", "cut")
    methods = tuple(spec.name for spec in METHODS)

    def run(self, request: Request) -> Evaluation:
        """As `EvaluationProtocol.run`."""
        return run_time(request, find_methods(request.methods, METHODS))


def run_time(request: Request, methods: Sequence[MethodSpec[Method]]) -> Evaluation:
    """Run the protocol for every method on every seed.

    Raises:
        DataError: the data set has no timestamps, or nobody can be measured.
        SettingError: a wrong cut, window, seed or method.
        ScoreError: a method's scores cannot be ranked.
    """
    dataset = request.dataset
    timestamp_E = dataset.interactions.timestamp_E
    if timestamp_E is None:
        raise DataError(
            f"{dataset.name}: the interactions have no timestamps, which a split by time needs"
        )
    cut_ms = parse_cut(request.options.get("cut", str(DEFAULT_CUT)), timestamp_E)
    histories = positives(dataset)
    window = chosen_window(request.options.get("window", "auto"), histories)
    runs = run_methods(
        request,
        methods,
        protocol=PROTOCOL,
        conditions={"window": window, "cut_ms": cut_ms},
        code=_CODE,
        split=lambda seed: split_by_time(dataset, cut_ms, seed, window),
        run=run_method,
    )
    return summarise(
        runs,
        protocol=PROTOCOL,
        dataset=dataset_facts(dataset, histories),
        window=window,
        measures=Measures(support_sizes(window), TIME_VIEWS),
        baselines=[spec.name for spec in methods if spec.is_baseline],
        versions=library_versions(),
        settings={
            "window": window,
            "cut": date_text(cut_ms),
            "interactions_before": float((timestamp_E < cut_ms).mean()),
        },
        same_users=True,
        resamples=request.resamples,
    )
