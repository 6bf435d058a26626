"""The gate: a candidate is promoted only when it is not worse than the current version.

Knows nothing of Redis or schedules. Both versions are opened as the service opens them and rank
for the same held-out users; the difference is a paired bootstrap over users.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.manifest import Manifest
from training.bundle_scores import BundleScorer
from training.datasets import Dataset, encode
from training.errors import SettingError
from training.methods import cold_users, measure, minimum_positives
from training.metrics import bootstrap_means, interval
from training.tasks import Histories, automatic_window

SUPPORT_SIZES = (0, 1, 2, 3, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class GateConfig:
    """When a candidate passes."""

    margin: float = 0.005
    """nDCG@10 that the candidate may lose on average and still pass."""
    min_users: int = 20
    """Held-out users without whom nothing is decided."""

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise SettingError(f"margin is {self.margin}; it must be 0 or above")
        if self.min_users < 1:
            raise SettingError(f"min_users is {self.min_users}; it must be 1 or above")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decided, and from which figures."""

    promote: bool
    reason: str
    users: int
    window: int
    """Largest support that was measured."""
    candidate: float | None = None
    """Mean nDCG@10 over users and support sizes; None, as what follows, where too few users decide
    nothing."""
    current: float | None = None
    difference: float | None = None
    low: float | None = None
    """95 % bootstrap interval of the difference."""
    high: float | None = None

    def document(self) -> dict[str, Any]:
        """In JSON's types."""
        return asdict(self)


def gate_window(histories: Histories, *bundles: Manifest) -> int:
    """The largest support to measure: what the bundles were trained for, if the users are so long.

    Args:
        histories: of the held-out users. Those who came since the base data are often shorter than
            the users that a bundle's window was chosen for; then a short window measures more of
            them.
        bundles: manifests of the versions to compare; the smaller window of theirs counts.
    """
    trained = min(manifest.adaptation.window for manifest in bundles)
    return min(trained, automatic_window(histories.lengths_U))


def usable_users(histories: Histories, window: int) -> NDArray[np.int64]:
    """Rows of users that are long enough to be ranked for."""
    return np.flatnonzero(histories.lengths_U >= minimum_positives(window))


def judge(
    candidate: Path,
    current: Path,
    dataset: Dataset,
    histories: Histories,
    held_out: NDArray[np.integer],
    candidates_N: NDArray[np.bool_],
    config: GateConfig,
    seed: int,
) -> Verdict:
    """Compare two versions on held-out users.

    Args:
        candidate: directory of the new version.
        current: directory of the version that serves.
        dataset: the data set whose codes all arrays use.
        histories: positives of every user.
        held_out: users that the candidate was not trained on.
        candidates_N: items that may be ranked.
        config: margin and least number of users.
        seed: of the bootstrap.

    Raises:
        ContractError: a bundle is damaged.
    """
    scorers = [BundleScorer(directory, dataset.item_ids) for directory in (candidate, current)]
    window = gate_window(histories.take(held_out), *(s.manifest for s in scorers))
    figures = [
        _figures(scorer, window, dataset, histories.take(held_out), held_out, candidates_N)
        for scorer in scorers
    ]
    users = len(figures[0])
    if users < config.min_users:
        reason = f"{users} held-out users; at least {config.min_users} are needed to decide"
        return Verdict(False, reason, users, window)
    pairs_UC = np.column_stack(figures)
    means_RC = bootstrap_means([pairs_UC], np.random.default_rng(seed))
    low, high = interval(means_RC[:, 0] - means_RC[:, 1])
    new, old = (float(v) for v in pairs_UC.mean(axis=0))
    promote, reason = _decide(new - old, low, high, config.margin)
    return Verdict(promote, reason, users, window, new, old, new - old, low, high)


def _decide(difference: float, low: float, high: float, margin: float) -> tuple[bool, str]:
    span = f"difference {difference:+.4f} nDCG@10, 95 % interval {low:+.4f} to {high:+.4f}"
    if high < 0:
        return False, f"worse than the current version: {span}"
    if difference < -margin:
        return False, f"worse than the current version by more than the margin {margin:g}: {span}"
    return True, f"not shown to be worse than the current version: {span}"


def _figures(
    scorer: BundleScorer,
    window: int,
    dataset: Dataset,
    histories: Histories,
    held_out: NDArray[np.integer],
    candidates_N: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """nDCG@10 of every held-out user, whose histories are given, mean over support sizes."""
    schema = scorer.manifest.dataset.user_features
    features = encode(dataset.users, schema, dataset.n_users)[held_out]
    users = cold_users(histories, features, window, candidates_N)
    sizes = [n for n in SUPPORT_SIZES if n <= window]
    by_size = [
        measure("bundle", scorer.score, users, candidates_N, n, ("masked",))[0, :, 0] for n in sizes
    ]
    return np.asarray(np.mean(by_size, axis=0), dtype=np.float64)
