"""Mult-VAE: a variational autoencoder over users' items with a multinomial likelihood.

Knows nothing of tuning or priors. A new user is folded in through the encoder.

Differs from the paper: items are dropped before the input is normalised, not after, so that a
short support looks as it did in training; and it is trained for a number of steps, which is a
setting like the others. A run with more steps goes on from the one with fewer.

Shape legend: B users of a block, S support rows, N items, H hidden units, D latent dims.

Source: Liang, Krishnan, Hoffman and Jebara (2018), Variational Autoencoders for Collaborative
Filtering.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.baselines.blend import FoldIn
from training.methods import ColdUserData
from training.tasks import PADDING, Histories

_BATCH_USERS = 256
_LEARNING_RATE = 3e-3
_ANNEALED_STEPS = 250
"""The weight of the divergence grows to `beta` over so many steps."""


class MultVAE:
    """Items to H tanh units to a D-dimensional normal, and back to a softmax over all items."""

    name = "mult-vae"
    axes: Mapping[str, Sequence[float]] = {
        "dropout": (0.3, 0.5, 0.7, 0.85, 0.95, 0.98),
        "beta": (0.0, 0.1, 0.3, 1.0),
        "dims": (32.0, 64.0, 128.0),
        "steps": (125.0, 250.0, 500.0, 1000.0, 2000.0),
    }
    """Share of dropped items, final weight of the divergence, D (a third of H), and optimiser
    steps, last because points with more of them take longer."""
    starts: Sequence[Mapping[str, float]] = (
        {"dropout": 0.95, "beta": 0.1, "dims": 32.0, "steps": 250.0},
        {"dropout": 0.3, "beta": 0.1, "dims": 64.0, "steps": 500.0},
    )

    def __init__(self) -> None:
        self._runs: dict[tuple[float, ...], _Run] = {}

    def fit(self, data: ColdUserData, settings: Mapping[str, float]) -> FoldIn:
        key = (settings["dropout"], settings["beta"], settings["dims"])
        run = self._runs.get(key)
        if run is None or run.steps > settings["steps"]:
            run = _Run(data, *key)
            self._runs[key] = run
        run.advance(int(settings["steps"]))
        weights = {name: value.clone() for name, value in run.network.state_dict().items()}
        network = _Network(data.n_items, int(settings["dims"]), torch.Generator())
        network.load_state_dict(weights)

        def fold_in(support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
            rows, columns = np.nonzero(support_BS != PADDING)
            length_B = np.bincount(rows, minlength=len(support_BS))
            with torch.no_grad():
                mean_BD, _ = network.encode(*_bags(support_BS[rows, columns], length_B))
                scores_BN: NDArray[np.float32] = network.decode(mean_BD).numpy()
            return scores_BN

        return fold_in


class _Network(nn.Module):
    """Encoder and decoder."""

    def __init__(self, n_items: int, dims: int, rng: torch.Generator) -> None:
        super().__init__()
        hidden = 3 * dims
        self.dims = dims
        self.items_NH = nn.Parameter(_random((n_items, hidden), hidden**-0.5, rng))
        self.encoder_bias_H = nn.Parameter(torch.zeros(hidden))
        self.latent_HD = nn.Parameter(_random((hidden, 2 * dims), hidden**-0.5, rng))
        self.latent_bias_D = nn.Parameter(torch.zeros(2 * dims))
        self.hidden_DH = nn.Parameter(_random((dims, hidden), dims**-0.5, rng))
        self.hidden_bias_H = nn.Parameter(torch.zeros(hidden))
        self.output_HN = nn.Parameter(_random((hidden, n_items), 0.1 * hidden**-0.5, rng))
        self.output_bias_N = nn.Parameter(torch.zeros(n_items))

    def encode(self, item_E: Tensor, start_B: Tensor, length_B1: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (B, D) each, of users given as bags of items."""
        sum_BH = nn.functional.embedding_bag(item_E, self.items_NH, start_B, mode="sum")
        hidden_BH = torch.tanh(sum_BH / length_B1.clamp(min=1.0).sqrt() + self.encoder_bias_H)
        latent_BD = hidden_BH @ self.latent_HD + self.latent_bias_D
        return latent_BD[:, : self.dims], latent_BD[:, self.dims :]

    def decode(self, latent_BD: Tensor) -> Tensor:
        """Logits, (B, N)."""
        hidden_BH = torch.tanh(latent_BD @ self.hidden_DH + self.hidden_bias_H)
        return hidden_BH @ self.output_HN + self.output_bias_N


class _Run:
    """Training that can be continued."""

    def __init__(self, data: ColdUserData, dropout: float, beta: float, dims: float) -> None:
        self.steps = 0
        self._dropout, self._beta = dropout, beta
        self._histories = data.train.take(np.flatnonzero(data.train.lengths_U > 0))
        self._rng = np.random.default_rng([data.seed, int(dims)])
        self._noise = torch.Generator().manual_seed(data.seed)
        self.network = _Network(data.n_items, int(dims), self._noise)
        with torch.no_grad():
            counts_N = torch.as_tensor(data.train.counts(), dtype=torch.float32)
            self.network.output_bias_N.copy_(torch.log(counts_N + 0.1))
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=_LEARNING_RATE)
        self._order = np.empty(0, dtype=np.int64)

    def advance(self, steps: int) -> None:
        """Train until so many steps are taken."""
        while self.steps < steps:
            if not len(self._order):
                self._order = self._rng.permutation(self._histories.n_users)
            batch, self._order = self._order[:_BATCH_USERS], self._order[_BATCH_USERS:]
            beta = self._beta * min(1.0, self.steps / _ANNEALED_STEPS)
            loss = self._loss(self._histories.take(batch), beta)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._optimizer.step()
            self.steps += 1

    def _loss(self, users: Histories, beta: float) -> Tensor:
        """Negative evidence bound a user (Liang et al., equation 4 with beta before the KL)."""
        kept_E = self._rng.random(len(users.item_E)) >= self._dropout
        length_B = np.bincount(users.user_E[kept_E], minlength=users.n_users)
        mean_BD, log_variance_BD = self.network.encode(*_bags(users.item_E[kept_E], length_B))
        noise_BD = torch.randn(mean_BD.shape, generator=self._noise)
        latent_BD = mean_BD + noise_BD * torch.exp(0.5 * log_variance_BD)
        log_share_BN = torch.log_softmax(self.network.decode(latent_BD), dim=1)
        likelihood = log_share_BN[
            torch.as_tensor(users.user_E), torch.as_tensor(users.item_E, dtype=torch.int64)
        ].sum()
        divergence = 0.5 * (torch.exp(log_variance_BD) + mean_BD**2 - 1.0 - log_variance_BD).sum()
        return (beta * divergence - likelihood) / users.n_users


def _bags(
    item_E: NDArray[np.int32], length_B: NDArray[np.integer]
) -> tuple[Tensor, Tensor, Tensor]:
    """Items of consecutive users, where each user's begin, and how many there are, (B, 1)."""
    start_B = np.concatenate([[0], np.cumsum(length_B)[:-1]]) if len(length_B) else length_B
    return (
        torch.as_tensor(item_E, dtype=torch.int64),
        torch.as_tensor(start_B, dtype=torch.int64),
        torch.as_tensor(length_B, dtype=torch.float32)[:, None],
    )


def _random(shape: tuple[int, int], scale: float, rng: torch.Generator) -> Tensor:
    return scale * torch.randn(shape, generator=rng)
