"""From per-user figures to a result: means, intervals and paired differences, pooled over seeds.

Knows nothing of how users were split or methods trained.

Shape legend: n support sizes, V views, U users of a seed, M metrics, R resamples, A methods.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.evaluate import (
    BEST_ON_TEST,
    BEST_ON_VALIDATION,
    CONFIDENCE,
    Cell,
    Difference,
    Evaluation,
    Measures,
    MethodRun,
    OneClick,
)
from training.metrics import bootstrap_means, interval

Figure = tuple[int, int, int]
"""Positions of (view, metric, size)."""


def summarise(
    runs: Sequence[MethodRun],
    *,
    protocol: str,
    dataset: Mapping[str, Any],
    window: int,
    measures: Measures,
    baselines: Iterable[str],
    versions: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
    same_users: bool = False,
    resamples: int = 10_000,
    bootstrap_seed: int = 0,
) -> Evaluation:
    """Pool runs over seeds: means, 95 % bootstrap intervals, and paired differences.

    Users are resampled within their seed and pooled, each with equal weight. Every method is
    resampled with the same users, so differences are paired. A NaN is a user that is not measured
    there: the mean is over the others.

    Args:
        runs: every method on every seed.
        protocol: its name.
        dataset: facts about the data set.
        window: largest support.
        measures: the axes of `figures_nVUM`.
        baselines: names of the methods that the others are compared with.
        versions: of the libraries that took part.
        settings: the protocol's own.
        same_users: the seeds share their test users, in the same order: a user's figures are
            averaged over the seeds first, so that nobody is taken for two people.
        resamples: R.
        bootstrap_seed: the same runs and seed give the same intervals.

    Raises:
        ValueError: a method lacks a seed, or has other users than the rest.
    """
    methods = list(dict.fromkeys(run.method for run in runs))
    seeds = list(dict.fromkeys(run.seed for run in runs))
    by_key = {(run.method, run.seed): run for run in runs}
    _check_complete(by_key, methods, seeds)
    figures = [np.stack([by_key[m, s].figures_nVUM for m in methods], axis=-1) for s in seeds]
    values = [np.moveaxis(group, 2, 0) for group in figures]
    users = {s: _measured(group) for s, group in zip(seeds, values, strict=True)}
    if same_users:
        values = [_mean_of_known(np.stack(values))]
    pooled = _pool(methods, measures, values, np.random.default_rng(bootstrap_seed), resamples)
    baseline_names = tuple(m for m in methods if m in set(baselines))
    validation_An = np.array(
        [np.mean([by_key[m, s].validation_n for s in seeds], axis=0) for m in methods]
    )
    return Evaluation(
        protocol=protocol,
        dataset=dict(dataset),
        window=window,
        sizes=measures.sizes,
        seeds=tuple(seeds),
        users=users,
        same_users=same_users,
        baselines=baseline_names,
        cells=tuple(pooled.cells()),
        differences=tuple(pooled.differences(baseline_names, validation_An)),
        runs=tuple(_facts(run, measures) for run in runs),
        resamples=resamples,
        versions=dict(versions),
        views=measures.views,
        metrics=measures.metrics,
        lower_is_better=measures.lower_is_better,
        size_title=measures.size_title,
        settings=dict(settings or {}),
        one_click=tuple(pooled.one_click()),
    )


@dataclass(frozen=True)
class _Pooled:
    """Means over users, and the same over resampled users."""

    methods: list[str]
    measures: Measures
    users_nVM: NDArray[np.int64]
    mean_nVMA: NDArray[np.float64]
    resampled_RnVMA: NDArray[np.float64]

    def _figures(self) -> Iterator[Figure]:
        """Every figure that measures somebody."""
        for v in range(len(self.measures.views)):
            for m in range(len(self.measures.metrics)):
                for i in range(len(self.measures.sizes)):
                    if self.users_nVM[i, v, m]:
                        yield v, m, i

    def cells(self) -> Iterator[Cell]:
        for a, method in enumerate(self.methods):
            for v, m, i in self._figures():
                low, high = _interval(self.resampled_RnVMA[:, i, v, m, a])
                mean = float(self.mean_nVMA[i, v, m, a])
                users = int(self.users_nVM[i, v, m])
                yield Cell(method, *self._names(v, m, i), mean, low, high, users)

    def differences(
        self, baselines: Sequence[str], validation_An: NDArray[np.float64]
    ) -> Iterator[Difference]:
        """Every other method minus every baseline, and minus the best of them at each size."""
        positions = [self.methods.index(b) for b in baselines]
        if not positions:
            return
        for a, method in enumerate(self.methods):
            if a in positions:
                continue
            for v, m, i in self._figures():
                rivals = [(self.methods[b], b) for b in positions]
                known_P = validation_An[positions, i]
                if not np.isnan(known_P).any():
                    rivals.append((BEST_ON_VALIDATION, positions[self._best(known_P, 0)]))
                on_test_P = self.mean_nVMA[i, v, m, positions]
                rivals.append((BEST_ON_TEST, positions[self._best(on_test_P, m)]))
                for name, b in rivals:
                    yield self._difference(method, a, name, b, (v, m, i))

    def one_click(self) -> Iterator[OneClick]:
        """n=1 minus n=0 of every method, where both measure the same users."""
        sizes = self.measures.sizes
        if not {0, 1} <= set(sizes):
            return
        zero, one = sizes.index(0), sizes.index(1)
        for a, method in enumerate(self.methods):
            for v, view in enumerate(self.measures.views):
                for m, metric in enumerate(self.measures.metrics):
                    if not 0 < self.users_nVM[one, v, m] == self.users_nVM[zero, v, m]:
                        continue
                    resampled_Rn = self.resampled_RnVMA[:, :, v, m, a]
                    low, high = _interval(resampled_Rn[:, one] - resampled_Rn[:, zero])
                    mean_n = self.mean_nVMA[:, v, m, a]
                    mean = float(mean_n[one] - mean_n[zero])
                    falls = metric in self.measures.lower_is_better
                    yield OneClick(
                        method, view, metric, mean, low, high, _verdict(low, high, falls)
                    )

    def _best(self, figure_P: NDArray[np.float64], metric: int) -> int:
        falls = self.measures.metrics[metric] in self.measures.lower_is_better
        return int(np.argmin(figure_P) if falls else np.argmax(figure_P))

    def _names(self, v: int, m: int, i: int) -> tuple[str, str, int]:
        return self.measures.views[v], self.measures.metrics[m], self.measures.sizes[i]

    def _difference(self, method: str, a: int, against: str, b: int, figure: Figure) -> Difference:
        v, m, i = figure
        resampled_R = self.resampled_RnVMA[:, i, v, m, a] - self.resampled_RnVMA[:, i, v, m, b]
        other = float(self.mean_nVMA[i, v, m, b])
        mean = float(self.mean_nVMA[i, v, m, a]) - other
        low, high = _interval(resampled_R)
        relative = mean / other if other > 0 else 0.0
        rival = self.methods[b]
        return Difference(method, against, rival, *self._names(v, m, i), mean, low, high, relative)


def _verdict(low: float, high: float, falls: bool) -> Literal["better", "worse", "undecided"]:
    if low <= 0 <= high:
        return "undecided"
    return "better" if (low > 0) != falls else "worse"


def _measured(values_UnVMA: NDArray[np.float64]) -> int:
    """Users that are measured anywhere."""
    return int((~np.isnan(values_UnVMA)).any(axis=(1, 2, 3, 4)).sum())


def _mean_of_known(values_SUnVMA: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each user's mean over the seeds in which they were measured; NaN where in none."""
    known = ~np.isnan(values_SUnVMA)
    count = known.sum(axis=0)
    total = np.where(known, values_SUnVMA, 0.0).sum(axis=0)
    mean: NDArray[np.float64] = np.divide(
        total, count, out=np.full(total.shape, np.nan), where=count > 0
    )
    return mean


def _pool(
    methods: list[str],
    measures: Measures,
    values_UnVMA: Sequence[NDArray[np.float64]],
    rng: np.random.Generator,
    resamples: int,
) -> _Pooled:
    """Means over users, and over resampled users, of what is not NaN."""
    shape = values_UnVMA[0].shape[1:]
    known = [~np.isnan(group[..., 0]) for group in values_UnVMA]
    for group, is_known in zip(values_UnVMA, known, strict=True):
        if (np.isnan(group) == is_known[..., None]).any():
            raise ValueError("methods were measured on different users. This is a bug.")
    users_nVM = np.sum([is_known.sum(axis=0) for is_known in known], axis=0)
    columns = [np.nan_to_num(group).reshape(len(group), -1) for group in values_UnVMA]
    n_figures = columns[0].shape[1]
    if not all(is_known.all() for is_known in known):
        # The mean over a part of the users is a ratio of two means over all of them.
        columns = [
            np.hstack([c, k.reshape(len(k), -1).astype(np.float64)])
            for c, k in zip(columns, known, strict=True)
        ]
    means_1C = np.concatenate(columns).mean(axis=0, keepdims=True)
    resampled_RC = bootstrap_means(columns, rng, resamples=resamples)
    mean, resampled = (_ratio(m, n_figures, shape) for m in (means_1C, resampled_RC))
    return _Pooled(methods, measures, users_nVM, mean[0], resampled)


def _ratio(
    means_RC: NDArray[np.float64], n_figures: int, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """The figures' columns over the share of users that each measures, (R, *shape)."""
    figures = means_RC[:, :n_figures].reshape(-1, *shape)
    if means_RC.shape[1] == n_figures:
        return figures
    share = means_RC[:, n_figures:].reshape(-1, *shape[:-1], 1)
    nobody = np.full(figures.shape, np.nan)
    ratio: NDArray[np.float64] = np.divide(figures, share, out=nobody, where=share > 0)
    return ratio


def _interval(resampled_R: NDArray[np.float64]) -> tuple[float, float]:
    """The interval over the resamples that hold a measured user at all."""
    return interval(resampled_R[~np.isnan(resampled_R)], CONFIDENCE)


def _check_complete(
    by_key: Mapping[tuple[str, int], MethodRun], methods: Sequence[str], seeds: Sequence[int]
) -> None:
    for seed in seeds:
        missing = [m for m in methods if (m, seed) not in by_key]
        if missing:
            raise ValueError(f"seed {seed} was not run for {', '.join(missing)}")
        users = {by_key[m, seed].figures_nVUM.shape[2] for m in methods}
        if len(users) > 1:
            raise ValueError(f"methods saw different numbers of users on seed {seed}: {users}")


def _facts(run: MethodRun, measures: Measures) -> dict[str, Any]:
    validation = {
        str(n): float(v)
        for n, v in zip(measures.sizes, run.validation_n, strict=True)
        if not np.isnan(v)
    }
    return {
        "method": run.method,
        "seed": run.seed,
        "settings": dict(run.settings),
        "fit_s": run.fit_s,
        "score_s": run.score_s,
        f"validation_{measures.metrics[0]}": validation,
    }
