"""Train the kernel on episodes, by the softmax likelihood of the query, early stopping included.

Knows nothing of the user vector; `training.served` joins the two.

Shape legend: U users, B tasks, S support rows, N items, P pairs, E edges.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.kernel.features import content_cosine, edge_features, join, training_pairs
from training.kernel.model import ItemKernel
from training.kernel.pairs import Graph, count_pairs, recent, strongest
from training.methods import ColdUserData, measure, validation_users
from training.tasks import Episodes, draw_episodes, representative_users

_BATCH_USERS = 256
_MIN_STEPS = 16
"""An epoch takes at least so many steps: small data sets are passed several times."""


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """Settings of the kernel's training."""

    pairs_a_task: float = 2_500.0
    """Edges that training sees for one task, on average: bounds the time of a step."""
    served_edges: int = 100
    """Most edges of an item that are kept for use: the strongest."""
    learning_rate: float = 1e-2
    max_epochs: int = 40
    patience_epochs: int = 5
    steps_an_epoch: int = 48
    average: float = 0.7
    """Decay of the moving average of the weights, per epoch."""
    query_power: float = 0.5


@dataclass(frozen=True, slots=True)
class TrainedKernel:
    """A kernel with its graph: A of any support, from full counts."""

    kernel: ItemKernel
    graph: Graph
    strength_E: NDArray[np.float32]
    """e(s, i) of every edge."""

    @classmethod
    def on(
        cls, graph: Graph, kernel: ItemKernel, features_EF: NDArray[np.float32]
    ) -> "TrainedKernel":
        """The kernel over a graph whose edges have these features."""
        with torch.no_grad():
            return cls(kernel, graph, kernel.edges(torch.from_numpy(features_EF)).numpy())

    def strongest(self, edges: int) -> "TrainedKernel":
        """The same with at most so many edges an item, the strongest."""
        graph = self.graph
        kept = strongest(graph.source_E, self.strength_E, graph.n_items, edges)
        return TrainedKernel(self.kernel, graph.only(kept), self.strength_E[kept])

    def mass(self, support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
        """A, (B, N)."""
        task_P, _, edge_P, rank_P = join(support_BS, self.graph)
        with torch.no_grad():
            mass_BN = self.kernel.mass(
                torch.from_numpy(task_P),
                torch.from_numpy(self.graph.item_E[edge_P].astype(np.int64)),
                torch.from_numpy(rank_P),
                torch.from_numpy(self.strength_E[edge_P]),
                len(support_BS),
                self.graph.n_items,
            )
        return np.asarray(mass_BN.numpy())


class KernelTrainer:
    """One training run of a kernel."""

    def __init__(self, data: ColdUserData, config: KernelConfig) -> None:
        self.config = config
        self._data = data
        self._own = recent(data.train)
        rows_a_task = max(data.window / 2, 1.0)
        self.graph = count_pairs(
            self._own, config.pairs_a_task / rows_a_task, np.random.default_rng([data.seed, 3])
        )
        self._cosine_E = content_cosine(self.graph, data.item_features)
        self._eligible_U = representative_users(data.train, data.window)
        late_N = late_counts(data)
        self.prior_N = ((late_N + 0.5) / (late_N + 0.5).sum()).astype(np.float32)
        self.kernel = self._new_kernel()

    def _new_kernel(self) -> ItemKernel:
        episodes = next(self._episodes(-1))
        pairs = training_pairs(
            episodes.support_BS, self._own.take(episodes.users_B), self.graph, self._cosine_E
        )
        features = torch.from_numpy(pairs.features_PF)
        if not len(features):
            features = torch.zeros(2, features.shape[1])
        return ItemKernel(
            features.mean(dim=0), features.std(dim=0) + 1e-3, self._data.window, self._data.seed
        )

    def _episodes(self, epoch: int) -> Iterator[Episodes]:
        rng = np.random.default_rng([self._data.seed, 4, epoch + 1])
        pieces = max(1, round(len(self._eligible_U) / _BATCH_USERS))
        for _ in range(-(-_MIN_STEPS // pieces)):
            order_U = rng.permutation(self._eligible_U)
            for users_B in np.array_split(order_U, pieces)[: self.config.steps_an_epoch]:
                yield draw_episodes(self._data.train, users_B, self._data.window, rng)

    def loss(self, episodes: Episodes) -> torch.Tensor:
        """Softmax likelihood of the queries under prior and kernel together."""
        pairs = training_pairs(
            episodes.support_BS, self._own.take(episodes.users_B), self.graph, self._cosine_E
        )
        b, n = len(episodes.users_B), self.graph.n_items
        strength_P = self.kernel.edges(torch.from_numpy(pairs.features_PF))
        mass_BN = self.kernel.mass(
            torch.from_numpy(pairs.task_P),
            torch.from_numpy(pairs.item_P),
            torch.from_numpy(pairs.rank_P),
            strength_P,
            b,
            n,
        )
        size_B = torch.from_numpy((episodes.support_BS >= 0).sum(axis=1))
        prior_B1 = torch.exp(self.kernel.prior_W[size_B])[:, None]
        mass_BN = mass_BN + prior_B1 * torch.from_numpy(self.prior_N)
        open_BN = torch.ones(b, n)
        open_BN[episodes.masked_row, episodes.masked_item.astype(np.int64)] = 0.0
        total_B = (mass_BN * open_BN).sum(dim=1)
        row = torch.from_numpy(episodes.query_row)
        item = torch.from_numpy(episodes.query_item.astype(np.int64))
        log_chance = torch.log(mass_BN[row, item]) - torch.log(total_B)[row]
        length_B = np.maximum(np.bincount(episodes.query_row, minlength=b), 1)
        weight = length_B.astype(np.float64) ** -self.config.query_power
        return -(log_chance * torch.from_numpy(weight[episodes.query_row]).float()).sum() / b

    def run(self) -> TrainedKernel:
        """Train until the validation figure stops rising."""
        optimizer = torch.optim.AdamW(
            self.kernel.parameters(), lr=self.config.learning_rate, weight_decay=1e-3
        )
        features_EF = edge_features(self.graph, self._cosine_E)
        average: dict[str, torch.Tensor] | None = None
        best, best_weights, stale = -1.0, _copy(self.kernel), 0
        for epoch in range(self.config.max_epochs):
            for episodes in self._episodes(epoch):
                optimizer.zero_grad()
                torch.autograd.backward(self.loss(episodes))
                torch.nn.utils.clip_grad_norm_(self.kernel.parameters(), 1.0)
                optimizer.step()
            now = _copy(self.kernel)
            average = now if average is None else _blend(average, now, self.config.average)
            self.kernel.load_state_dict(average)
            value = self._validate(TrainedKernel.on(self.graph, self.kernel, features_EF))
            if value > best:
                best, best_weights, stale = value, average, 0
            else:
                stale += 1
            if stale >= self.config.patience_epochs:
                break
            self.kernel.load_state_dict(now)
        self.kernel.load_state_dict(best_weights)
        trained = TrainedKernel.on(self.graph, self.kernel, features_EF)
        return trained.strongest(self.config.served_edges)

    def _validate(self, trained: TrainedKernel) -> float:
        users = validation_users(self._data)
        if not users.n_users:
            return 0.0
        score = KernelScorer(trained, self.prior_N).score
        figures = [
            measure("kernel", score, users, self._data.candidates_N, n, ("masked",))[0, :, 0]
            for n in self._data.sizes
            if n > 0
        ]
        return float(np.mean(figures))


class KernelScorer:
    """Scores of a kernel beside its prior: the prior's weight falls as the support grows."""

    def __init__(self, trained: TrainedKernel, prior_N: NDArray[np.float32]) -> None:
        self._trained = trained
        self._prior_N = prior_N

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        """As `training.methods.Method.score`; the features are not looked at."""
        del features
        prior_W = self._trained.kernel.prior_W
        weight = float(torch.exp(prior_W[min(n, len(prior_W) - 1)]).item())
        scores_BN = self._trained.mass(support_BS) + weight * self._prior_N
        return np.asarray(scores_BN, dtype=np.float32)


def late_counts(data: ColdUserData) -> NDArray[np.int64]:
    """How often each item comes after users' windows."""
    lengths_U = data.train.lengths_U
    return data.train.prefix(np.minimum(data.window, lengths_U // 2), lengths_U).counts()


def _copy(kernel: ItemKernel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in kernel.state_dict().items()}


def _blend(
    average: dict[str, torch.Tensor], now: dict[str, torch.Tensor], decay: float
) -> dict[str, torch.Tensor]:
    return {name: decay * average[name] + (1 - decay) * now[name] for name in average}
