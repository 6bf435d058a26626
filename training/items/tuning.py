"""What the methods for cold items share: the space, the content's weights, quality over folds.

Knows nothing of how a method adapts an item. Answers are kept for the data of the present run, so
that methods compared on one split do not pay for the same fit again.

Shape legend: N items, D dims.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from training.baselines.search import search
from training.items.content import ContentRidge, expand
from training.items.embedding import Embedding
from training.items.space import Space, fit_space, score_metric
from training.items.task import ColdItemData, ColdItemTask, measure, quality

SPACES: Mapping[str, Sequence[float]] = {
    "dims": (16.0, 32.0, 64.0, 128.0),
    "l2": (0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
}
_SPACE_START = {"dims": 32.0, "l2": 10.0}
TUNING_USERS = 500
"""Users of each fold that settings are chosen on."""

Settings = Mapping[str, float]


def mean_quality(
    name: str, embeddings: Sequence[Embedding], tasks: Sequence[ColdItemTask], n: int
) -> float:
    """`quality` averaged over the folds."""
    figures = [quality(measure(name, e.rank, t, n)) for e, t in zip(embeddings, tasks, strict=True)]
    return float(np.mean(figures))


@lru_cache(maxsize=2)
def choose_space(data: ColdItemData) -> dict[str, float]:
    """Width and ridge strength of the space: those that rank held-out warm items best.

    Cold items take no part, so one choice serves every method, and is made once for them all.
    """
    fold, task = data.folds[0]
    sample = task.sample(TUNING_USERS, data.seed)

    def figure(settings: Settings) -> float:
        space = fold_space(fold, int(settings["dims"]), settings["l2"])
        found = Embedding(space.users_UD, space.items_ND, sample.cold_N)
        return float(measure("space", found.rank, sample, 0)[0, :, 0].mean())

    chosen, _ = search(SPACES, (_SPACE_START,), figure, sweeps=1)
    return chosen


@lru_cache(maxsize=8)
def fold_space(data: ColdItemData, dims: int, l2: float) -> Space:
    """The space of a split's training interactions; the methods of a run share it."""
    return fit_space(data.train, dims, l2, data.seed)


@lru_cache(maxsize=4)
def content_weights(
    data: ColdItemData, dims: int, l2: float, *, weighted: bool
) -> dict[str, float]:
    """How much each column says of an item's vector, from all warm items of the training part."""
    space = fold_space(data, dims, l2)
    expanded_NE, blocks = expand(data.item_features, data.item_schema)
    warm_W = data.warm.items_I
    return ContentRidge(expanded_NE, blocks, warm_W).choose_weights(
        space.items_ND[warm_W] @ score_metric(space),
        np.random.default_rng([data.seed, 7]),
        weighted=weighted,
    )
