"""Choose how new items adapt: the settings that rank best for items that play new.

Knows nothing of how a space or a split was made.

Shape legend: U users to rank for, B users of a block, D dims.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from training.baselines.search import search
from training.items.shared_space import ItemSettings, SharedSpace
from training.items.task import ColdItemTask, measure, quality

AXES: Mapping[str, Sequence[float]] = {
    "scale": (0.7, 1.0, 1.4, 2.0, 2.8),
    "offset": (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
    "exposure_weight": (0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0),
    "spread": (0.5, 0.7, 1.0, 1.4),
}
"""Settings that are searched."""


def choose_settings(
    spaces: Sequence[SharedSpace],
    tasks: Sequence[ColdItemTask],
    users: Sequence[NDArray[np.float32] | None],
    sizes: Sequence[int],
    start: ItemSettings,
) -> tuple[ItemSettings, dict[int, float]]:
    """The settings that rank best for held-out items, and their `quality` by support size.

    Args:
        spaces: one a fold, of models that never saw the fold's items.
        tasks: the folds' items.
        users: states of the users to rank for, in the order of the task; None: they are known to
            the space.
        sizes: support sizes to judge by, all alike.
        start: where the search begins; `from_first` stays as it is.
    """

    def figures(settings: ItemSettings) -> dict[int, float]:
        return {
            n: float(
                np.mean(
                    [
                        _quality(space, task, own, n, settings)
                        for space, task, own in zip(spaces, tasks, users, strict=True)
                    ]
                )
            )
            for n in sizes
        }

    def figure(values: Mapping[str, float]) -> float:
        return float(np.mean(list(figures(replace(start, **values)).values())))

    begin = {name: value for name, value in asdict(start).items() if name in AXES}
    axes = {name: sorted({*values, begin[name]}) for name, values in AXES.items()}
    chosen = replace(start, **search(axes, (begin,), figure)[0])
    return chosen, figures(chosen)


def _quality(
    space: SharedSpace,
    task: ColdItemTask,
    own_UD: NDArray[np.float32] | None,
    n: int,
    settings: ItemSettings,
) -> float:
    embedding = space.embedding(task.supports.head(n), settings)
    if own_UD is None:
        return quality(measure("items", embedding.rank, task, n))

    def rank(users_B: NDArray[np.integer]) -> NDArray[np.float32]:
        states_BD = own_UD[np.searchsorted(task.users_U, users_B)]
        return embedding.scores(np.column_stack([states_BD, np.ones(len(users_B))]).astype("f4"))

    return quality(measure("items", rank, task, n))
