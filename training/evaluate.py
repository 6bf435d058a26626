"""The one shape of an evaluation's result: figures, paired differences, runs; and the same as JSON.

Knows nothing of how users were split, methods trained or figures pooled (`training.summary`).

Shape legend: n support sizes, V views, U units of a seed (users), M metrics.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.methods import VIEWS
from training.metrics import METRICS

BEST_ON_VALIDATION = "best baseline (by validation)"
BEST_ON_TEST = "best baseline (by test)"
"""The baseline that happens to be best on the test users: harder to beat than it should be."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class MethodRun:
    """One method on one seed's users."""

    method: str
    seed: int
    figures_nVUM: NDArray[np.float64]
    """Every metric of every test user; NaN where a view or a size does not measure the user. The
    same places are NaN for every method."""
    validation_n: NDArray[np.float64]
    """The primary figure on validation users by support size; NaN where there is none."""
    settings: Mapping[str, Any]
    """What the method chose on validation users."""
    fit_s: float
    score_s: float
    """Seconds to score all test users at all sizes, measuring included."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What a protocol measures: the axes of its runs' figures."""

    sizes: tuple[int, ...]
    """Support sizes n, ascending."""
    views: tuple[str, ...] = VIEWS
    """Ways to look at the same lists, or groups of users; the first one is the headline."""
    metrics: tuple[str, ...] = METRICS
    """The first one is the headline; the baselines' validation figures are of it."""
    lower_is_better: tuple[str, ...] = ()
    """Metrics that are errors."""
    size_title: str = "interactions"
    """What n counts."""


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
    users: int
    """Users measured, over all seeds."""


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


@dataclass(frozen=True, slots=True)
class OneClick:
    """What the first interaction does to a method's lists: n=1 minus n=0 on the same users."""

    method: str
    view: str
    metric: str
    mean: float
    low: float
    high: float
    verdict: Literal["better", "worse", "undecided"]
    """Of the lists: better or worse where the interval lies on one side of 0."""


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
    same_users: bool
    """Whether all seeds measure the same users, each then counted once."""
    baselines: tuple[str, ...]
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...]
    runs: tuple[Mapping[str, Any], ...]
    """Settings, seconds and validation figures of every method on every seed."""
    resamples: int
    versions: Mapping[str, str] = field(default_factory=dict)
    views: tuple[str, ...] = VIEWS
    metrics: tuple[str, ...] = METRICS
    lower_is_better: tuple[str, ...] = ()
    size_title: str = "interactions"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The protocol's own settings, as given or decided."""
    one_click: tuple[OneClick, ...] = ()
    """For every method, where n = 0 and n = 1 were measured."""

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.method for cell in self.cells))

    @property
    def n_users(self) -> int:
        """Test users that the figures are means over."""
        counts = self.users.values()
        return max(counts) if self.same_users else sum(counts)

    def row(self, method: str, view: str, metric: str) -> list[Cell]:
        """A method's cells in the order of the sizes; sizes at which nobody was measured lack."""
        wanted = (method, view, metric)
        return [c for c in self.cells if (c.method, c.view, c.metric) == wanted]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        users = {str(seed): count for seed, count in self.users.items()}
        return {**asdict(self), "users": users, "level": CONFIDENCE, "methods": list(self.methods)}
