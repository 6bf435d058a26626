"""The model that is served: a meta-learned user vector, pooled with an item-item kernel where that
makes better lists for validation users.

Trains the two parts one after the other and decides. Knows nothing of files, bundles or protocols.

Shape legend: B users, S support rows, N item codes, M rows of the model, E edges.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.pooling import Edges, Kernel, add_kernel
from training.checkpoint import Checkpoint
from training.kernel.model import ItemKernel
from training.kernel.train import KernelConfig, KernelTrainer, TrainedKernel
from training.methods import VIEWS, ColdUserData, measure, validation_users
from training.model import sparse_tensor
from training.outer_loop import MetaTrainer, Progress, TrainConfig, Trained, pick_device
from training.pooling import PoolingChoice, choose_pooling
from training.scoring import Scorer

DEFAULT_KERNEL = KernelConfig()
_LEAST_USERS = 20
"""Validation users, and users with a support and a query, below which no kernel is tried."""


@dataclass(frozen=True, slots=True)
class KernelPart:
    """The kernel in rows of the model, with what made its edges."""

    kernel: Kernel
    parameters: dict[str, NDArray[Any]]
    """Arrays of `ItemKernel`, by name: new counts make new edges from them."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Both parts; `kernel` is None where the vector alone makes lists as good."""

    trained: Trained
    rows_N: NDArray[np.int64]
    """Row of every item code, -1 where it has none."""
    kernel: KernelPart | None
    decision: str
    """Why there is a kernel, or none."""


def train_served(
    data: ColdUserData,
    config: TrainConfig,
    kernel_config: KernelConfig | None = DEFAULT_KERNEL,
    on_epoch: Callable[[Progress], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
) -> ServedModel:
    """Train the user vector, then the kernel, then decide how they join.

    Args:
        data: what to learn from.
        config: settings of the outer loop.
        kernel_config: settings of the kernel; None: the vector alone.
        on_epoch: called after every epoch of the vector.
        checkpoint: of the vector's training; the kernel's is short and starts again.

    Raises:
        TrainingError: see `MetaTrainer.run`.
    """
    trainer = MetaTrainer(data, config)
    trained = trainer.run(on_epoch, checkpoint)
    if kernel_config is None:
        return ServedModel(trained, trainer.rows_N, None, "none: not asked for")
    learners = int((data.train.lengths_U >= 3).sum())
    judges = validation_users(data)
    if min(learners, judges.n_users) < _LEAST_USERS:
        reason = (
            f"none: {learners} users to learn it from and {judges.n_users} validation users to "
            f"decide by; it takes {_LEAST_USERS} of each"
        )
        return ServedModel(trained, trainer.rows_N, None, reason)
    fitted = KernelTrainer(data, kernel_config).run()
    vector = ServedScorer(ServedModel(trained, trainer.rows_N, None, ""))
    rank_W = np.exp(fitted.kernel.rank_W.detach().numpy()).astype(float).tolist()
    choice = choose_pooling(
        judges, data.candidates_N, data.sizes, vector.score, fitted.mass, rank_W
    )
    part = KernelPart(
        Kernel(edges_between(fitted, trainer.rows_N), choice.pooling),
        _parameters(fitted.kernel),
    )
    return ServedModel(trained, trainer.rows_N, part if choice.worth_it else None, _reason(choice))


def _reason(choice: PoolingChoice) -> str:
    measured = (
        f"{choice.gain:+.4f} nDCG@10 (standard error {choice.error:.4f}) over the vector alone, "
        f"mean over support sizes, on {choice.users} validation users, chosen on one half and "
        "measured on the other"
    )
    if not choice.worth_it:
        return f"none: pooled with a kernel {measured}"
    pooling = choice.pooling
    return f"pooled, theta {pooling.theta:g}, beta {pooling.beta[-1]:g}: {measured}"


def edges_between(fitted: TrainedKernel, rows_N: NDArray[np.int64]) -> Edges:
    """The edges in rows of the model.

    Args:
        fitted: over item codes.
        rows_N: row of every item code, ascending, -1 where it has none; every code with an edge
            has a row.
    """
    graph = fitted.graph
    per_row_M = np.diff(graph.indptr_N1)[rows_N >= 0]
    return Edges(
        np.concatenate([[0], np.cumsum(per_row_M)]).astype(np.int64),
        rows_N[graph.item_E].astype(np.int32),
        np.exp(fitted.strength_E).astype(np.float32),
    )


def _parameters(kernel: ItemKernel) -> dict[str, NDArray[Any]]:
    return {name: value.detach().numpy() for name, value in kernel.state_dict().items()}


def validation_figures(model: ServedModel, data: ColdUserData) -> dict[int, float]:
    """nDCG@10 of what is served on validation users, by support size; empty without any."""
    users = validation_users(data)
    if model.kernel is None or not users.n_users:
        return model.trained.validation
    score = ServedScorer(model).score
    return {
        n: float(measure("served", score, users, data.candidates_N, n, VIEWS[:1])[0, :, 0].mean())
        for n in data.sizes
    }


class ServedScorer:
    """Scores of a served model over all item codes, for `training.methods.measure`."""

    def __init__(self, model: ServedModel) -> None:
        device = pick_device("cpu")
        self._kernel = model.kernel
        self._rows_N = model.rows_N
        self._codes_M = model.trained.codes_M
        self._vector = Scorer(
            model.trained.model,
            model.rows_N,
            sparse_tensor(model.trained.item_features, device),
            device,
        )

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        """As `training.methods.Method.score`."""
        scores_BN = self._vector.score(support_BS, features, n)
        if self._kernel is None or not support_BS.shape[1]:
            return scores_BN
        row_BS = np.where(support_BS >= 0, self._rows_N[support_BS], -1)
        weight_BS = (row_BS >= 0).astype(np.float32)
        scores_BM = scores_BN[:, self._codes_M]
        for scores_M, row_S, weight_S in zip(scores_BM, row_BS, weight_BS, strict=True):
            add_kernel(scores_M, self._kernel.kernel, row_S, weight_S)
        scores_BN[:, self._codes_M] = scores_BM
        return scores_BN
