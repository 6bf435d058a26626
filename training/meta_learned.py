"""Our own model as one of the evaluated methods.

Knows nothing of protocols: it meta-trains on what a method is given, and scores.

Shape legend: B users, S support rows, N items.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.kernel.train import KernelConfig
from training.methods import ColdUserData
from training.outer_loop import TrainConfig
from training.served import DEFAULT_KERNEL, ServedModel, ServedScorer, train_served


class MetaLearned:
    """The served model: a user vector meta-learned by second-order MAML, pooled with an item-item
    kernel where validation users say so (`training.served`).

    Args:
        config: settings of the outer loop; None: the product's.
        kernel: settings of the kernel; None: the vector alone.
        name: in tables.
    """

    def __init__(
        self,
        config: TrainConfig | None = None,
        kernel: KernelConfig | None = DEFAULT_KERNEL,
        name: str = "ours",
    ) -> None:
        self.name = name
        self._config = config or TrainConfig()
        self._kernel = kernel
        self._model: ServedModel | None = None
        self._scorer: ServedScorer | None = None

    def fit(self, data: ColdUserData) -> None:
        """Meta-train with the product's defaults, seeded by the data's seed."""
        self._model = train_served(data, replace(self._config, seed=data.seed), self._kernel)
        self._scorer = ServedScorer(self._model)

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        """As `Method.score`."""
        assert self._scorer is not None, "score() before fit(). This is a bug."
        return self._scorer.score(support_BS, features, n)

    def settings(self) -> dict[str, Any]:
        """What training decided by itself."""
        assert self._model is not None, "settings() before fit(). This is a bug."
        trained = self._model.trained
        return {
            "epochs": trained.epochs,
            "shrinkage_strength": trained.shrinkage_strength,
            "steps": trained.model.config.steps,
            "dims": trained.model.config.dims,
            "kernel": self._model.decision,
        }
