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
from training.items.task import ColdItemTask, measure, pairs, quality

AXES: Mapping[str, Sequence[float]] = {
    "scale": (0.7, 1.0, 1.4),
    "offset": (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
    "exposure_weight": (0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0),
    "burst": (0.0, 30.0, 100.0, 300.0, 1000.0),
    "spread": (0.35, 0.5, 0.7, 1.0, 1.4),
}
"""Settings that can be searched."""
_FARTHEST = 4.0
"""Most that calibration moves biases, either way."""


def choose_settings(
    spaces: Sequence[SharedSpace],
    tasks: Sequence[ColdItemTask],
    users: Sequence[NDArray[np.float32] | None],
    sizes: Sequence[int],
    start: ItemSettings,
    axes: Sequence[str] = tuple(AXES),
) -> tuple[ItemSettings, dict[int, float]]:
    """The settings that rank best for held-out items, and their `quality` by support size.

    Args:
        spaces: one a fold, of models that never saw the fold's items.
        tasks: the folds' items.
        users: states of the users to rank for, in the order of the task; None: they are known to
            the space.
        sizes: support sizes to judge by, all alike.
        start: where the search begins.
        axes: names of `AXES` that are searched; all else stays as it is.
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

    begin = {name: value for name, value in asdict(start).items() if name in axes}
    grid = {name: sorted({*AXES[name], value}) for name, value in begin.items()}
    chosen = replace(start, **search(grid, (begin,), figure)[0])
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


def calibrated_offset(
    space: SharedSpace, task: ColdItemTask, own_UD: NDArray[np.float32], settings: ItemSettings
) -> float:
    """The offset at which new items without interactions get as large a share of the predicted
    takes as they have of the users' later ones, averaged over users.

    A higher one shows people items that they do not ask for; a lower one keeps new items out.

    Args:
        space: of a model that never saw the new items.
        task: with every user who has a query, not those alone who took a new item.
        own_UD: their states.
        settings: the rest; their own offset is not looked at.
    """
    supports = task.supports.head(0)
    new_IP = space.adapted(supports, replace(settings, offset=0.0))
    theta_NP = space.theta_NP.copy()
    theta_NP[supports.items_I] = new_IP
    scores_UN = own_UD @ theta_NP[:, :-1].T + theta_NP[:, -1]
    out_UN = ~task.candidates_N | pairs(task.seen, np.arange(len(own_UD)))
    chance_UN = np.where(out_UN, 0.0, np.exp(scores_UN - scores_UN.max(axis=1, keepdims=True)))
    new_U = chance_UN[:, supports.items_I].sum(axis=1)
    known_U = chance_UN.sum(axis=1) - new_U
    asked = np.bincount(task.query.user_E, minlength=len(own_UD))
    asked_new = np.bincount(
        task.query.user_E, weights=task.cold_N[task.query.item_E], minlength=len(own_UD)
    )
    wanted = float(np.mean(asked_new / np.maximum(asked, 1)))
    low, high = -_FARTHEST, _FARTHEST
    for _ in range(30):
        middle = (low + high) / 2
        raised_U = new_U * np.exp(middle)
        share = float(np.mean(raised_U / np.maximum(raised_U + known_U, 1e-30)))
        low, high = (middle, high) if share < wanted else (low, middle)
    return round((low + high) / 2, 2)
