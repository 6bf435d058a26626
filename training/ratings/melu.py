"""MeLU: a network over content embeddings whose decision layers take gradient steps on the support.

Knows nothing of how users and items are held out.

Each content column of user and item has a linear embedding; two hidden layers and a linear output
decide. A task's local update moves the decision layers alone; the global update moves everything,
through the local update (second order). Differences from the paper: batched tasks, Adam with decay,
supports of random size, early stopping on cold users and items, and the output starts at the mean.

Shape legend: B tasks, S support rows, Q query rows, R rows, W positions, E embedding, H hidden.

Source: Lee et al. (2019), MeLU: Meta-Learned User Preference Estimator, algorithm 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import Parameter, ParameterDict

from training.ratings.content import Blocks
from training.ratings.tasks import (
    REGIMES,
    Chosen,
    HeldOut,
    Predict,
    RatingData,
    RatingSplit,
    RatingTasks,
    by_regime,
    episodes,
    mean_error,
    tuning_tasks,
)

_LEAST, _MOST, _QUERY = 13, 50, 10
_WATCHED = 300  # tasks of a scenario that decide when to stop
_PATIENCE = 3
_BLOCK = 128
Decision = tuple[Tensor, ...]


class MeLU:
    """MeLU with its local rate and its number of epochs chosen by search."""

    name = "melu"

    def __init__(
        self,
        *,
        width: int = 32,
        hidden: int = 64,
        local_rates: Sequence[float] = (0.1, 0.3),
        max_epochs: int = 16,
        tasks_a_step: int = 32,
        learning_rate: float = 3e-3,
    ) -> None:
        self._width, self._hidden = width, hidden
        self._local_rates = tuple(local_rates)
        self._max_epochs = max_epochs
        self._tasks_a_step = tasks_a_step
        self._learning_rate = learning_rate

    def choose(self, tuning: RatingSplit) -> Chosen:
        tasks = {
            name: [held.evenly(_WATCHED) for held in tuning_tasks(tuning, name)] for name in REGIMES
        }
        best: dict[str, tuple[float, dict[str, float], Predict]] = {}
        for rate in self._local_rates:
            network = self._network(tuning.data, rate)
            lowest, since = dict.fromkeys(REGIMES, np.inf), 0
            for epoch in range(1, self._max_epochs + 1):
                self._epoch(network, tuning.data, epoch)
                since += 1
                for name in REGIMES:
                    error = mean_error(network.predict, tasks[name])
                    if error < lowest[name]:
                        lowest[name], since = error, 0
                    if name not in best or error < best[name][0]:
                        found = {"local_rate": rate, "epochs": epoch}
                        best[name] = (error, found, network.frozen())
                if since == _PATIENCE:
                    break
        settings = {name: found for name, (_, found, _) in best.items()}
        models = {name: predict for name, (_, _, predict) in best.items()}
        return Chosen(settings, by_regime(models, tuning.data.counts_N))

    def train(self, data: RatingData, settings: Mapping[str, Any]) -> Predict:
        models: dict[str, Predict] = {}
        for rate in sorted({settings[name]["local_rate"] for name in REGIMES}):
            network = self._network(data, rate)
            wanted = [name for name in REGIMES if settings[name]["local_rate"] == rate]
            for epoch in range(1, max(settings[name]["epochs"] for name in wanted) + 1):
                self._epoch(network, data, epoch)
                for name in wanted:
                    if settings[name]["epochs"] == epoch:
                        models[name] = network.frozen()
        return by_regime(models, data.counts_N)

    def _network(self, data: RatingData, rate: float) -> "_Network":
        network = _Network(data, self._width, self._hidden, rate)
        network.optimise(self._learning_rate)
        return network

    def _epoch(self, network: "_Network", data: RatingData, epoch: int) -> None:
        """One task for every training user."""
        rng = np.random.default_rng([data.seed, epoch])
        held = episodes(data.ratings, _LEAST, _MOST, _QUERY, rng)
        order = rng.permutation(len(held))
        for first in range(0, len(order), self._tasks_a_step):
            network.step(held.take(order[first : first + self._tasks_a_step]))


class _Network:
    """Parameters, the local update, and the global one."""

    def __init__(self, data: RatingData, width: int, hidden: int, rate: float) -> None:
        self._mean = float(data.ratings.rating_E.mean())
        self._rate = rate
        self._users, self._items = _sparse(data.users), _sparse(data.items)
        generator = torch.Generator().manual_seed(data.seed)

        def normal(*shape: int, scale: float) -> Parameter:
            return Parameter(scale * torch.randn(*shape, generator=generator))

        user_E, item_E = width * len(self._users), width * len(self._items)
        self._parameters = ParameterDict(
            {
                **{
                    f"user{k}": normal(m.shape[1], width, scale=0.1) for k, m in self._user_blocks()
                },
                **{
                    f"item{k}": normal(m.shape[1], width, scale=0.1) for k, m in self._item_blocks()
                },
                "from_user": normal(user_E, hidden, scale=max(user_E, 1) ** -0.5),
                "from_item": normal(item_E, hidden, scale=max(item_E, 1) ** -0.5),
                "bias1": Parameter(torch.zeros(hidden)),
                "second": normal(hidden, hidden, scale=hidden**-0.5),
                "bias2": Parameter(torch.zeros(hidden)),
                "out": normal(hidden, scale=0.1 * hidden**-0.5),
                "bias3": Parameter(torch.zeros(())),
            }
        )

    def _user_blocks(self) -> Sequence[tuple[int, Tensor]]:
        return list(enumerate(self._users))

    def _item_blocks(self) -> Sequence[tuple[int, Tensor]]:
        return list(enumerate(self._items))

    def optimise(self, learning_rate: float) -> None:
        self._optimiser = torch.optim.AdamW(
            self._parameters.values(), lr=learning_rate, weight_decay=0.01
        )

    def step(self, held: HeldOut) -> None:
        """One global update."""
        wanted_BQ = torch.from_numpy(held.rating_BQ - self._mean).float()
        loss = torch.mean(torch.square(self._adapted(held.tasks, self._tables()) - wanted_BQ))
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch declares no types here
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), 5.0)
        self._optimiser.step()

    def predict(self, tasks: RatingTasks) -> NDArray[np.float64]:
        """Predicted ratings, (B, Q)."""
        with torch.no_grad():
            tables = self._tables()
        found_BQ = np.empty(tasks.query_item_BQ.shape)
        for first in range(0, len(tasks), _BLOCK):
            rows = np.arange(first, min(first + _BLOCK, len(tasks)))
            part = self._adapted(tasks.take(rows), tables, second_order=False)
            found_BQ[rows] = self._mean + part.detach().numpy()
        return found_BQ

    def frozen(self) -> Predict:
        """`predict` with the parameters of now."""
        copy = object.__new__(_Network)
        copy.__dict__.update(self.__dict__)
        copy._parameters = ParameterDict(
            {name: Parameter(p.detach().clone()) for name, p in self._parameters.items()}
        )
        return copy.predict

    def _tables(self) -> tuple[Tensor, Tensor]:
        """Embeddings of all users and all items."""
        p = self._parameters
        users = [torch.sparse.mm(m, p[f"user{k}"]) for k, m in self._user_blocks()]
        items = [torch.sparse.mm(m, p[f"item{k}"]) for k, m in self._item_blocks()]
        return _beside(users), _beside(items)

    def _adapted(
        self, tasks: RatingTasks, tables: tuple[Tensor, Tensor], *, second_order: bool = True
    ) -> Tensor:
        """Predictions minus the mean after one local update of the decision layers, (B, Q)."""
        p = self._parameters
        given_BS = torch.from_numpy(tasks.given_BS).float()
        user_B1E = tables[0][torch.from_numpy(tasks.user_B)][:, None, :]
        item_BSE = tables[1][torch.from_numpy(np.where(tasks.given_BS, tasks.support_item_BS, 0))]
        names = ("from_user", "from_item", "bias1", "second", "bias2", "out", "bias3")
        own = tuple(p[n].expand(len(tasks), *p[n].shape) for n in names)
        if not second_order:
            own = tuple(w.detach().requires_grad_() for w in own)
        with torch.enable_grad():
            error_BS = _decide(own, user_B1E, item_BSE) + self._mean
            error_BS = (error_BS - torch.from_numpy(tasks.support_rating_BS).float()) * given_BS
            loss_B = torch.square(error_BS).sum(dim=1) / given_BS.sum(dim=1).clamp(min=1.0)
            slopes = torch.autograd.grad(loss_B.sum(), own, create_graph=second_order)
        moved = tuple(w - self._rate * g for w, g in zip(own, slopes, strict=True))
        return _decide(moved, user_B1E, tables[1][torch.from_numpy(tasks.query_item_BQ)])


def _decide(own: Decision, user_B1E: Tensor, item_BRE: Tensor) -> Tensor:
    """The decision layers, one set of weights a task, (B, R)."""
    from_user, from_item, bias1, second, bias2, out, bias3 = own
    hidden_BRH = torch.relu(user_B1E @ from_user + item_BRE @ from_item + bias1[:, None, :])
    hidden_BRH = torch.relu(hidden_BRH @ second + bias2[:, None, :])
    return (hidden_BRH @ out[:, :, None])[:, :, 0] + bias3[:, None]


def _sparse(blocks: Blocks) -> tuple[Tensor, ...]:
    return tuple(_tensor(matrix) for matrix in blocks.matrices if matrix.shape[1] > 0)


def _tensor(matrix: csr_matrix) -> Tensor:
    pairs = matrix.tocoo()
    where = torch.from_numpy(np.stack([pairs.row, pairs.col]).astype(np.int64))
    values = torch.from_numpy(pairs.data).float()
    return torch.sparse_coo_tensor(where, values, matrix.shape, check_invariants=False).coalesce()


def _beside(tables: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tables), dim=1)
