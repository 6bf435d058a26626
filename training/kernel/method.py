"""The item-item kernel as one of the evaluated methods.

It is not part of the bundle yet: the table tells where it would help.

Shape legend: B users, S support rows, N items.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.kernel.train import KernelConfig, KernelScorer, KernelTrainer
from training.methods import ColdUserData


class ItemKernelMethod:
    """A learned item-item kernel over the support, with late popularity as its prior."""

    name = "item-kernel"

    def __init__(self, config: KernelConfig | None = None) -> None:
        self._config = config or KernelConfig()
        self._scorer: KernelScorer | None = None
        self._edges = 0

    def fit(self, data: ColdUserData) -> None:
        """Count pairs of the training users, and train the kernel on their episodes."""
        trainer = KernelTrainer(data, self._config)
        self._scorer = KernelScorer(trainer.run(), trainer.prior_N)
        self._edges = len(trainer.graph.item_E)

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        """As `Method.score`."""
        assert self._scorer is not None, "score() before fit(). This is a bug."
        return self._scorer.score(support_BS, features, n)

    def settings(self) -> dict[str, Any]:
        """What was counted."""
        return {"edges": self._edges}
