"""The baseline that knows no taste: items by how much they are taken.

Knows nothing of content. A warm item's score is its count of interactions. A cold item with n
interactions, exposed to a share f of all visits, has the expected count (n + κ c) / (f + κ), c the
mean count of warm items times a tuned scale: its rate, shrunk to the average item's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.baselines.search import search
from training.items.embedding import Embedding
from training.items.task import ColdItemData, ItemSupports
from training.items.tuning import TUNING_USERS, mean_quality

_AXES: Mapping[str, Sequence[float]] = {
    "scale": (0.1, 0.3, 1.0, 3.0, 10.0),
    "trust": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "from_first": (0.0, 1.0),
}
_START = {"scale": 1.0, "trust": 0.03, "from_first": 0.0}

Settings = Mapping[str, float]


class SupportPopularity:
    """Popularity, a cold item's estimated from its support."""

    name = "support-popularity"

    def fit(self, data: ColdItemData) -> None:
        self._data = data
        tasks = [task.sample(TUNING_USERS, data.seed) for _, task in data.folds]
        self._chosen: dict[int, Settings] = {}
        self._validation: dict[int, float] = {}
        for n in data.sizes:

            def figure(settings: Settings, n: int = n) -> float:
                found = [
                    _embedding(fold, task.supports.head(n), n, settings)
                    for (fold, _), task in zip(data.folds, tasks, strict=True)
                ]
                return mean_quality(self.name, found, tasks, n)

            axes = _AXES if n > 0 else {**_AXES, "trust": (0.03,), "from_first": (0.0,)}
            self._chosen[n], _ = search(axes, (_START,), figure)
            self._validation[n] = figure(self._chosen[n])

    def embed(self, supports: ItemSupports, n: int) -> Embedding:
        return _embedding(self._data, supports, n, self._chosen[n])

    def embed_fold(self, fold: int, supports: ItemSupports, n: int) -> Embedding:
        return _embedding(self._data.folds[fold][0], supports, n, self._chosen[n])

    def validation(self, n: int) -> float:
        return self._validation[n]

    def settings(self) -> dict[str, Any]:
        return {"by_size": {str(n): dict(s) for n, s in self._chosen.items()}}


def _embedding(data: ColdItemData, supports: ItemSupports, n: int, settings: Settings) -> Embedding:
    """Everybody alike: one dimension, in which an item's vector is its count."""
    counts_N = data.train.counts().astype(np.float64)
    average = settings["scale"] * counts_N[data.warm.items_I].mean()
    origin = "first" if settings["from_first"] else "start"
    exposure_I = supports.exposure(origin, data.visits) if n > 0 else 0.0
    seen_I = supports.sizes_I
    trust = settings["trust"]
    counts_N[supports.items_I] = (seen_I + trust * average) / (exposure_I + trust)
    cold_N = np.zeros(len(counts_N), dtype=np.bool_)
    cold_N[supports.items_I] = True
    everybody_U1 = np.ones((data.train.n_users, 1), dtype=np.float32)
    return Embedding(everybody_U1, counts_N.astype(np.float32)[:, None], cold_N)
