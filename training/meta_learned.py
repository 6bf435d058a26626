"""Our own model as one of the evaluated methods.

Knows nothing of protocols: it meta-trains on what a method is given, and scores.

Shape legend: B users, S support rows, N items.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.methods import ColdUserData
from training.model import sparse_tensor
from training.outer_loop import MetaTrainer, TrainConfig, Trained, pick_device
from training.scoring import Scorer


class MetaLearned:
    """A user vector meta-learned by second-order MAML (`training.outer_loop`)."""

    def __init__(self, config: TrainConfig | None = None, name: str = "ours") -> None:
        self.name = name
        self._config = config or TrainConfig()
        self._trained: Trained | None = None
        self._scorer: Scorer | None = None

    def fit(self, data: ColdUserData) -> None:
        """Meta-train with the product's defaults, seeded by the data's seed."""
        trainer = MetaTrainer(data, replace(self._config, seed=data.seed))
        self._trained = trainer.run()
        device = pick_device("cpu")
        self._scorer = Scorer(
            self._trained.model,
            trainer.rows_N,
            sparse_tensor(self._trained.item_features, device),
            device,
        )

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        """As `Method.score`."""
        assert self._scorer is not None, "score() before fit(). This is a bug."
        return self._scorer.score(support_BS, features, n)

    def settings(self) -> dict[str, Any]:
        """What training decided by itself."""
        assert self._trained is not None, "settings() before fit(). This is a bug."
        return {
            "epochs": self._trained.epochs,
            "shrinkage_strength": self._trained.shrinkage_strength,
            "steps": self._trained.model.config.steps,
            "dims": self._trained.model.config.dims,
        }
