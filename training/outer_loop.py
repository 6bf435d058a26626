"""The outer loop: meta-train a model on episodes of training users, stop early on validation users.

Knows nothing of files but its checkpoint, and nothing of export. Batches are drawn from (seed,
epoch, batch) alone, so a resumed run takes exactly the steps that an unbroken one takes.

Shape legend: U users, B tasks, N items, D dims, F feature positions.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.algorithms.maml import Batch, meta_loss
from training.checkpoint import Checkpoint
from training.errors import SettingError, TrainingError
from training.methods import ColdUserData, ColdUsers, measure, validation_users
from training.model import ColdStartModel, ModelConfig, shrinkage, sparse_tensor
from training.scoring import Scorer
from training.tasks import Histories, draw_episodes, representative_users

Device = Literal["auto", "cpu", "cuda"]

_SHRINKAGE_STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_MIN_STEPS = 16
"""An epoch takes at least so many steps: small data sets are passed several times."""
_MAX_STEPS = 64
"""An epoch takes at most so many steps: of a large data set it sees a random part."""
_PRIOR_USERS = 3_500
_MOST_PRIOR_DECAY = 8.0
"""In units of `TrainConfig.prior_decay`."""
_LOGIT_CELLS = 6_000_000
"""Largest B x N of one batch: bounds the memory of a step at about 0.4 GB."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of the outer loop. The defaults are the product's, for every data set."""

    dims: int = 64
    """D, width of user and item vectors."""
    steps: int = 2
    """K, gradient steps of the inner loop."""
    learning_rate: float = 3e-3
    item_decay: float = 3.0
    """Decoupled weight decay (AdamW) of the item vectors' id part."""
    shift_decay: float = 3.0
    """Weight decay of how the inner loop's item vectors differ from the scored ones."""
    tower_decay: float = 2.0
    """Weight decay of the content tower."""
    prior_decay: float = 1.0
    """Weight decay of the user prior with 3,500 users to learn from, and with more; with fewer it
    grows as their number falls, as the data say less against the decay's pull."""
    batch_users: int = 256
    max_epochs: int = 60
    patience_epochs: int = 10
    """Epochs without a better validation figure before training stops."""
    average: float = 0.9
    """Decay of the moving average of the weights, per epoch."""
    clip_norm: float = 5.0
    query_power: float = 0.25
    """A task with Q query items weighs Q^-query_power per item."""
    plain: bool = False
    """Plain MAML: one step size a step, one vector an item, and no shrinkage. For comparison."""
    device: Device = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {"dims": 1, "steps": 1, "batch_users": 1, "max_epochs": 1, "patience_epochs": 1}
        for name, least in limits.items():
            value = getattr(self, name)
            if value < least:
                raise SettingError(f"{name} is {value}; it must be at least {least}")
        if self.learning_rate <= 0:
            raise SettingError(f"learning_rate is {self.learning_rate}; it must be above 0")


@dataclass(frozen=True, slots=True)
class Progress:
    """What one finished epoch reports."""

    epoch: int
    max_epochs: int
    loss: float
    validation: float
    """Mean nDCG@10 over the support sizes; without validation users, minus the loss."""
    best: float
    tasks: int
    """Episodes of the epoch."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A meta-trained model and how it came about."""

    model: ColdStartModel
    codes_M: NDArray[np.int64]
    """Item code of every row of the model: items with a training positive."""
    item_features: csr_matrix
    """(M, F), rows as the model's."""
    epochs: int
    validation: dict[int, float]
    """nDCG@10 on validation users by support size."""
    shrinkage_strength: float


def pick_device(device: Device) -> torch.device:
    """The device to train on.

    Raises:
        SettingError: CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingError("device is 'cuda', but torch sees no CUDA device; use 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


class MetaTrainer:
    """One training run: model, optimiser, average, and the best epoch so far."""

    def __init__(self, data: ColdUserData, config: TrainConfig) -> None:
        self.config = config
        self.device = pick_device(config.device)
        self._data = data
        self.codes_M = np.flatnonzero(data.candidates_N)
        self.rows_N = np.full(data.n_items, -1, dtype=np.int64)
        self.rows_N[self.codes_M] = np.arange(len(self.codes_M))
        train = data.train
        self.train = Histories(
            train.indptr_U1, self.rows_N[train.item_E].astype(np.int32), len(self.codes_M)
        )
        self.eligible_U = representative_users(train, data.window)
        if not len(self.eligible_U):
            raise TrainingError(
                "no training user has two positive interactions; meta-training needs a support "
                "and a query from the same user"
            )
        self.item_features = _item_features(data)[self.codes_M]
        self._item_features_t = sparse_tensor(self.item_features, self.device)
        self._validation = validation_users(data)
        self.model = self._new_model().to(self.device)
        self.average = AveragedModel(
            self.model,
            multi_avg_fn=get_ema_multi_avg_fn(config.average),  # type: ignore[no-untyped-call]  # torch leaves it untyped
        )
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), lr=config.learning_rate)
        self.batch_users = int(np.clip(_LOGIT_CELLS // len(self.codes_M), 16, config.batch_users))

    def _new_model(self) -> ColdStartModel:
        c = self.config
        model_config = ModelConfig(
            n_items=len(self.codes_M),
            user_features=self._data.train_features.shape[1],
            item_features=self.item_features.shape[1],
            dims=c.dims,
            steps=c.steps,
            window=self._data.window,
            plain=c.plain,
        )
        return ColdStartModel(
            model_config,
            late_popularity_bias(self.train.take(self.eligible_U), self._data.window),
            _mean(self._data.train_features),
            _mean(self.item_features),
            c.seed,
        )

    def _parameter_groups(self) -> list[dict[str, Any]]:
        m, c = self.model, self.config
        inner = [m.rate_KD, m.size_rate_KW, m.decay_K]
        fewer = float(np.clip(_PRIOR_USERS / len(self.eligible_U), 1.0, _MOST_PRIOR_DECAY))
        return [
            {"params": [m.item_id_ND], "weight_decay": c.item_decay},
            {"params": [m.inner_shift_ND], "weight_decay": c.shift_decay},
            {"params": list(m.item_tower.parameters()), "weight_decay": c.tower_decay},
            {"params": list(m.user_prior.parameters()), "weight_decay": c.prior_decay * fewer},
            {"params": [m.bias_N, *inner], "weight_decay": 0.0},
        ]

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, a pure function of seed and epoch."""
        rng = np.random.default_rng([self.config.seed, epoch])
        pieces = max(1, round(len(self.eligible_U) / self.batch_users))
        for _ in range(-(-_MIN_STEPS // pieces)):
            order_U = rng.permutation(self.eligible_U)
            for users_B in np.array_split(order_U, pieces)[:_MAX_STEPS]:
                yield self._batch(users_B, rng)

    def _batch(self, users_B: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        drawn = draw_episodes(self.train, users_B, self._data.window, rng)
        length_B = np.bincount(drawn.query_row, minlength=len(users_B)).astype(np.float64)
        weight = np.maximum(length_B, 1.0) ** -self.config.query_power

        def move(array: NDArray[Any], dtype: torch.dtype) -> torch.Tensor:
            return torch.as_tensor(array, dtype=dtype, device=self.device)

        return Batch(
            features_BF=move(self._data.train_features[users_B].toarray(), torch.float32),
            support_BS=move(drawn.support_BS, torch.int64),
            query_row=move(drawn.query_row, torch.int64),
            query_item=move(drawn.query_item, torch.int64),
            query_weight=move(weight[drawn.query_row], torch.float32),
            masked_row=move(drawn.masked_row, torch.int64),
            masked_item=move(drawn.masked_item, torch.int64),
        )

    def meta_step(self, batch: Batch) -> float:
        """One step of the outer optimiser; returns the loss.

        Raises:
            TrainingError: the loss is not finite.
        """
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"
        ):
            loss = meta_loss(self.model, batch, self._item_features_t)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss.item()}; lower learning_rate "
                f"(now {self.config.learning_rate})"
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return float(loss.item())

    def figures(self, model: ColdStartModel, users: ColdUsers) -> dict[int, float]:
        """nDCG@10 by support size on some users."""
        scorer = Scorer(model, self.rows_N, self._item_features_t, self.device)
        return {
            n: float(
                measure("meta", scorer.score, users, self._data.candidates_N, n, ("masked",))[
                    0, :, 0
                ].mean()
            )
            for n in self._data.sizes
        }

    def run(
        self,
        on_epoch: Callable[[Progress], None] = lambda _: None,
        checkpoint: Checkpoint | None = None,
    ) -> Trained:
        """Train until the validation figure stops rising, then fit the shrinkage.

        Args:
            on_epoch: called after every epoch.
            checkpoint: where the run's state is kept after every epoch, and resumed from.

        Raises:
            TrainingError: the loss is not finite, or the checkpoint cannot be written.
        """
        state = _State()
        if checkpoint is not None:
            state = self._resume(checkpoint) or state
        while state.epoch < self.config.max_epochs and state.stale < self.config.patience_epochs:
            losses, tasks = [], 0
            with _fast_products():
                for batch in self.batches(state.epoch):
                    losses.append(self.meta_step(batch))
                    tasks += len(batch.support_BS)
            self.average.update_parameters(self.model)
            averaged = _inside(self.average)
            value = -float(np.mean(losses))  # without validation users, the loss decides
            if self._validation.n_users:
                value = float(np.mean(list(self.figures(averaged, self._validation).values())))
            better = value > state.best
            state = replace(
                state,
                epoch=state.epoch + 1,
                best=value if better else state.best,
                stale=0 if better else state.stale + 1,
                weights=_copy(averaged) if better else state.weights,
            )
            if checkpoint is not None:
                checkpoint.save(self._snapshot(state))
            on_epoch(
                Progress(
                    epoch=state.epoch,
                    max_epochs=self.config.max_epochs,
                    loss=float(np.mean(losses)),
                    validation=value,
                    best=state.best,
                    tasks=tasks,
                )
            )
        return self._finish(state)

    def _finish(self, state: "_State") -> Trained:
        model = _inside(self.average)
        if state.weights is None:
            raise TrainingError("training ended before its first epoch. This is a bug.")
        model.load_state_dict(state.weights)
        strength, figures = self._fit_shrinkage(model)
        return Trained(
            model.cpu(), self.codes_M, self.item_features, state.epoch, figures, strength
        )

    def _fit_shrinkage(self, model: ColdStartModel) -> tuple[float, dict[int, float]]:
        """Choose the shrinkage on validation users; without any, a middle value."""
        window = self._data.window
        buffer = model.get_buffer("shrinkage_W")
        if not self._validation.n_users:
            buffer.copy_(shrinkage(window, 2.0))
            return 2.0, {}
        results = []
        strengths = (0.0,) if self.config.plain else _SHRINKAGE_STRENGTHS
        for strength in strengths:
            buffer.copy_(shrinkage(window, strength))
            results.append((strength, self.figures(model, self._validation)))
        strength, figures = max(results, key=lambda r: float(np.mean(list(r[1].values()))))
        buffer.copy_(shrinkage(window, strength))
        return strength, figures

    def _snapshot(self, state: "_State") -> dict[str, Any]:
        return {
            "epoch": state.epoch,
            "best": state.best,
            "stale": state.stale,
            "weights": state.weights,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def _resume(self, checkpoint: Checkpoint) -> "_State | None":
        saved = checkpoint.load(self.device)
        if saved is None:
            return None
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        return _State(saved["epoch"], saved["best"], saved["stale"], saved["weights"])


@dataclass(frozen=True, slots=True)
class _State:
    epoch: int = 0
    best: float = -math.inf
    stale: int = 0
    weights: dict[str, torch.Tensor] | None = None


def late_popularity_bias(train: Histories, window: int) -> NDArray[np.float32]:
    """Centred log odds of taking an item after the window, for those who did not take it before.

    A query asks for what people take after their first choices. An item that most users take at
    once is rarely left to be taken later, so users who have it already do not count against it:
    late / (users - early). Short histories count from their middle.
    """
    lengths_U = train.lengths_U
    start_U = np.minimum(window, lengths_U // 2)
    late_N = train.prefix(start_U, lengths_U).counts()
    early_N = train.prefix(np.zeros_like(start_U), start_U).counts()
    bias_N = np.log((late_N + 0.5) / (train.n_users - early_N + 1.0))
    return np.asarray(bias_N - bias_N.mean(), dtype=np.float32)


@contextmanager
def _fast_products() -> Iterator[None]:
    """Let matrix products of a step use the processor's fastest path.

    That is oneDNN in float32 on most; on processors with bfloat16 units, bfloat16, as on CUDA.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _item_features(data: ColdUserData) -> csr_matrix:
    if data.item_features is not None:
        return data.item_features
    return csr_matrix(np.ones((data.n_items, 1), dtype=np.float32))


def _mean(features: csr_matrix) -> NDArray[np.float64]:
    return np.asarray(features.mean(axis=0), dtype=np.float64).ravel()


def _inside(average: AveragedModel) -> ColdStartModel:
    assert isinstance(average.module, ColdStartModel)
    return average.module


def _copy(model: ColdStartModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
