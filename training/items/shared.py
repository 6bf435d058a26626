"""Our method for cold items: they adapt in the very space that serves users.

Knows nothing of how items were split. The served model is meta-trained on the warm interactions;
new items get a prior from content and posterior steps (`training.posterior`). Its few settings are
chosen on folds of training items, each with a model of its own that never saw them.

What is ranked here is held out at random from users' histories, not the last of them: so histories
are put into random order before training, and a state is made of a random 50 of a user's items.

Shape legend: U users.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from training.items.choose import choose_settings
from training.items.embedding import Embedding
from training.items.shared_space import ItemSettings, SharedSpace, shared_space
from training.items.task import ColdItemData, ItemSupports
from training.items.tuning import TUNING_USERS
from training.methods import ColdUserData, minimum_positives
from training.outer_loop import MetaTrainer, TrainConfig
from training.tasks import Histories, automatic_window

FOLDS = 2
"""Folds that settings are chosen on: each trains a model."""
_VALIDATION_SHARE = 0.1
_VALIDATION_USERS = 300
_SIZES = (0, 1, 2, 3, 5, 10, 20)
_START = ItemSettings(scale=1.4, offset=0.5, exposure_weight=0.35, burst=0.0)


class SharedItems:
    """The method, as `training.items.task.ItemMethod`."""

    name = "ours"

    def __init__(self, config: TrainConfig | None = None) -> None:
        """
        Args:
            config: settings of the outer loop; None: the product's.
        """
        self._config = config or TrainConfig()

    def fit(self, data: ColdItemData) -> None:
        self._data = data
        self._model = trained_space(data, self._config)
        weights = self._model.prior.block_weights
        self._folds: dict[int, SharedSpace] = {}
        self._weights = weights
        tasks = [task.sample(TUNING_USERS, data.seed) for _, task in data.folds[:FOLDS]]
        spaces = [self._fold(i) for i in range(len(tasks))]
        found = [
            choose_settings(
                spaces, tasks, [None] * len(tasks), data.sizes, replace(_START, from_first=origin)
            )
            for origin in ((0.0, 1.0) if data.has_time else (1.0,))
        ]
        self._chosen, self._figures = max(found, key=lambda f: float(np.mean(list(f[1].values()))))

    def embed(self, supports: ItemSupports, n: int) -> Embedding:
        del n  # the support says it
        return self._model.embedding(supports, self._chosen)

    def embed_fold(self, fold: int, supports: ItemSupports, n: int) -> Embedding:
        del n
        return self._fold(fold).embedding(supports, self._chosen)

    def validation(self, n: int) -> float:
        return self._figures[n]

    def settings(self) -> dict[str, Any]:
        return {"all_sizes": asdict(self._chosen), "content_weights": dict(self._weights)}

    def _fold(self, fold: int) -> SharedSpace:
        if fold not in self._folds:
            data = self._data.folds[fold][0]
            self._folds[fold] = trained_space(data, self._config, self._weights)
        return self._folds[fold]


def trained_space(
    data: ColdItemData, config: TrainConfig, block_weights: Mapping[str, float] | None = None
) -> SharedSpace:
    """Meta-train on a split's warm interactions, a few users held out for early stopping."""
    rng = np.random.default_rng([data.seed, 11])
    histories = shuffled(data.train, rng)
    window = automatic_window(histories.lengths_U)
    long = np.flatnonzero(histories.lengths_U >= minimum_positives(window))
    wanted = min(_VALIDATION_USERS, int(len(long) * _VALIDATION_SHARE))
    judges = np.sort(rng.choice(long, wanted, replace=False))
    learners = np.setdiff1d(np.flatnonzero(histories.lengths_U > 0), judges)
    nothing = csr_matrix(np.ones((histories.n_users, 1), dtype=np.float32))
    train = histories.take(learners)
    users = ColdUserData(
        train=train,
        train_features=nothing[learners],
        validation=histories.take(judges),
        validation_features=nothing[judges],
        window=window,
        sizes=tuple(n for n in _SIZES if n <= window),
        candidates_N=train.counts() > 0,
        item_features=data.item_features,
        seed=data.seed,
    )
    trainer = MetaTrainer(users, replace(config, seed=data.seed))
    return shared_space(
        trainer.run(),
        trainer.rows_N,
        histories,
        nothing,
        data.item_features,
        data.item_schema,
        rng,
        block_weights,
    )


def shuffled(histories: Histories, rng: np.random.Generator) -> Histories:
    """The same histories, each in random order."""
    order = np.lexsort((rng.random(len(histories.item_E)), histories.user_E))
    return Histories(histories.indptr_U1, histories.item_E[order], histories.n_items)
