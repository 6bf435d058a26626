"""From per-user figures to a result: means, intervals, paired differences, as rows and as JSON.

Knows nothing of how users were split or methods trained.

Shape legend: n support sizes, V views, U users of a seed, M metrics, R resamples, A methods.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.methods import VIEWS
from training.metrics import METRICS, bootstrap_means, interval

BEST_ON_VALIDATION = "best baseline (by validation)"
BEST_ON_TEST = "best baseline (by test)"
"""The baseline that happens to be best on the test users: harder to beat than it should be."""


@dataclass(frozen=True)
class MethodRun:
    """One method on one seed's users."""

    method: str
    seed: int
    figures_nVUM: NDArray[np.float64]
    """Every metric of every test user."""
    validation_n: NDArray[np.float64]
    """Masked nDCG@10 on validation users by support size."""
    settings: Mapping[str, Any]
    """What the method chose on validation users."""
    fit_s: float
    score_s: float
    """Seconds to score all test users at all sizes, measuring included."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of one method at one support size."""

    method: str
    view: str
    metric: str
    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One method minus another on the same users."""

    method: str
    against: str
    """A method's name, or `BEST_ON_VALIDATION` or `BEST_ON_TEST`."""
    against_method: str
    """The method that this is at this support size."""
    view: str
    metric: str
    n: int
    mean: float
    low: float
    high: float
    relative: float
    """The difference over the other's mean."""


@dataclass(frozen=True)
class Evaluation:
    """What a protocol found, over all seeds."""

    protocol: str
    dataset: Mapping[str, Any]
    window: int
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    users: Mapping[int, int]
    """Test users measured, by seed."""
    baselines: tuple[str, ...]
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...]
    runs: tuple[Mapping[str, Any], ...]
    """Settings, seconds and validation figures of every method on every seed."""
    resamples: int
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.method for cell in self.cells))

    def row(self, method: str, view: str, metric: str) -> list[Cell]:
        """A method's cells in the order of the sizes."""
        wanted = (method, view, metric)
        return [c for c in self.cells if (c.method, c.view, c.metric) == wanted]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        users = {str(seed): count for seed, count in self.users.items()}
        return {**asdict(self), "users": users, "level": 0.95, "methods": list(self.methods)}


def summarise(
    runs: Sequence[MethodRun],
    *,
    protocol: str,
    dataset: Mapping[str, Any],
    window: int,
    sizes: Sequence[int],
    baselines: Iterable[str],
    versions: Mapping[str, str],
    resamples: int = 10_000,
    bootstrap_seed: int = 0,
) -> Evaluation:
    """Pool runs over seeds: means, 95 % bootstrap intervals, and paired differences.

    Users are resampled within their seed and pooled, each with equal weight. Every method is
    resampled with the same users, so differences are paired.

    Args:
        runs: every method on every seed.
        protocol: its name.
        dataset: facts about the data set.
        window: largest support.
        sizes: support sizes, in the order of `figures_nVUM`.
        baselines: names of the methods that the others are compared with.
        versions: of the libraries that took part.
        resamples: R.
        bootstrap_seed: the same runs and seed give the same intervals.

    Raises:
        ValueError: a method lacks a seed, or has other users than the rest.
    """
    methods = list(dict.fromkeys(run.method for run in runs))
    seeds = list(dict.fromkeys(run.seed for run in runs))
    by_key = {(run.method, run.seed): run for run in runs}
    _check_complete(by_key, methods, seeds)
    stacked = [np.stack([by_key[m, s].figures_nVUM for m in methods], axis=-1) for s in seeds]
    values = [np.moveaxis(figures, 2, 0) for figures in stacked]
    shape = values[0].shape[1:]
    flat = [group.reshape(len(group), -1) for group in values]
    rng = np.random.default_rng(bootstrap_seed)
    pooled = _Pooled(
        methods,
        tuple(sizes),
        np.concatenate(flat).mean(axis=0).reshape(shape),
        bootstrap_means(flat, rng, resamples=resamples).reshape(-1, *shape),
    )
    baseline_names = tuple(m for m in methods if m in set(baselines))
    validation_An = np.array(
        [np.mean([by_key[m, s].validation_n for s in seeds], axis=0) for m in methods]
    )
    return Evaluation(
        protocol=protocol,
        dataset=dict(dataset),
        window=window,
        sizes=tuple(sizes),
        seeds=tuple(seeds),
        users={s: len(group) for s, group in zip(seeds, values, strict=True)},
        baselines=baseline_names,
        cells=tuple(pooled.cells()),
        differences=tuple(pooled.differences(baseline_names, validation_An)),
        runs=tuple(_facts(run, sizes) for run in runs),
        resamples=resamples,
        versions=dict(versions),
    )


@dataclass(frozen=True)
class _Pooled:
    """Means over users, and the same over resampled users."""

    methods: list[str]
    sizes: tuple[int, ...]
    mean_nVMA: NDArray[np.float64]
    resampled_RnVMA: NDArray[np.float64]

    def _figures(self) -> Iterable[tuple[int, int, int]]:
        """Positions of (view, metric, size)."""
        return (
            (v, m, i)
            for v in range(len(VIEWS))
            for m in range(len(METRICS))
            for i in range(len(self.sizes))
        )

    def cells(self) -> Iterable[Cell]:
        for a, method in enumerate(self.methods):
            for v, m, i in self._figures():
                low, high = interval(self.resampled_RnVMA[:, i, v, m, a])
                mean = float(self.mean_nVMA[i, v, m, a])
                yield Cell(method, VIEWS[v], METRICS[m], self.sizes[i], mean, low, high)

    def differences(
        self, baselines: Sequence[str], validation_An: NDArray[np.float64]
    ) -> Iterable[Difference]:
        """Every other method minus every baseline, and minus the best of them at each size."""
        positions = [self.methods.index(b) for b in baselines]
        if not positions:
            return
        for a, method in enumerate(self.methods):
            if a in positions:
                continue
            for v, m, i in self._figures():
                by_validation = positions[int(np.argmax(validation_An[positions, i]))]
                by_test = positions[int(np.argmax(self.mean_nVMA[i, v, m, positions]))]
                rivals = [(self.methods[b], b) for b in positions]
                rivals += [(BEST_ON_VALIDATION, by_validation), (BEST_ON_TEST, by_test)]
                for name, b in rivals:
                    yield self._difference(method, a, name, b, (v, m, i))

    def _difference(
        self, method: str, a: int, against: str, b: int, figure: tuple[int, int, int]
    ) -> Difference:
        v, m, i = figure
        resampled_R = self.resampled_RnVMA[:, i, v, m, a] - self.resampled_RnVMA[:, i, v, m, b]
        other = float(self.mean_nVMA[i, v, m, b])
        mean = float(self.mean_nVMA[i, v, m, a]) - other
        low, high = interval(resampled_R)
        return Difference(
            method,
            against,
            self.methods[b],
            VIEWS[v],
            METRICS[m],
            self.sizes[i],
            mean,
            low,
            high,
            mean / other if other > 0 else 0.0,
        )


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


def _facts(run: MethodRun, sizes: Sequence[int]) -> dict[str, Any]:
    validation = {str(n): float(v) for n, v in zip(sizes, run.validation_n, strict=True)}
    return {
        "method": run.method,
        "seed": run.seed,
        "settings": dict(run.settings),
        "fit_s": run.fit_s,
        "score_s": run.score_s,
        "validation_ndcg@10": validation,
    }
