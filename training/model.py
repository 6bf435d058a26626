"""The meta-learned model: item vectors and biases, the user prior, the inner loop's parameters.

Knows nothing of data sets, of the outer loop or of export.

Shape legend: B rows, N items, D dims, F feature positions, K steps, W window (sizes 0 .. W).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from training.inner_loop import InnerParameters

SHIFT_FROM_WINDOW = 5
"""From this support size on, what an item says of who took it is learned beside its own vector: of
fewer items it is better told by the vector alone (docs/experiments.md)."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes and starting values."""

    n_items: int
    user_features: int
    """F of the users' schema, at least 1 (the intercept)."""
    item_features: int
    """F of the items' schema, at least 1."""
    dims: int
    steps: int
    window: int
    init_scale: float = 0.1
    """Standard deviation of the item vectors' id part."""
    init_rate: float = 1.0
    """Log step size."""
    plain: bool = False
    """Plain MAML: one step size a step instead of one a dimension and support size, and no shift.
    """
    init_decay: float = -3.0
    """Log strength of the inner proximal term."""

    @property
    def shifted(self) -> bool:
        """Whether the inner loop sees items by vectors of their own."""
        return not self.plain and self.window >= SHIFT_FROM_WINDOW


class LinearMap(nn.Module):
    """x -> (x - mean) W with an intercept: position 0 of x is always 1 and is not centred.

    Centring makes the intercept the average row, so that weight decay pulls a feature's effect
    towards "no different from average".
    """

    def __init__(self, features: int, dims: int, mean_F: NDArray[np.floating]) -> None:
        super().__init__()
        self.weight_FD = nn.Parameter(torch.zeros(features, dims))
        mean = torch.as_tensor(mean_F, dtype=torch.float32).clone()
        mean[0] = 0.0
        self.register_buffer("mean_F", mean)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Map rows (dense or sparse CSR) to (B, D)."""
        centre_D = self.get_buffer("mean_F") @ self.weight_FD
        mapped_BD: Tensor = features_BF @ self.weight_FD
        return mapped_BD - centre_D

    def folded(self) -> Tensor:
        """The same map as one (F, D) matrix for x itself: the centre moves into the intercept."""
        weight_FD = self.weight_FD.detach().clone()
        weight_FD[0] -= self.get_buffer("mean_F") @ weight_FD
        return weight_FD


class ColdStartModel(nn.Module):
    """score(u, i) = u . v_i + b_i: u adapts from a prior made of the user's features, and v_i is
    an id part plus a content tower.

    The inner loop sees item i as w_i = v_i + shift_i: what an item says of who took it is not quite
    what it takes to be taken. The shift starts at 0 and is decayed towards it; with a small window
    there is none.
    """

    def __init__(
        self,
        config: ModelConfig,
        bias_N: NDArray[np.floating],
        user_mean_F: NDArray[np.floating],
        item_mean_F: NDArray[np.floating],
        seed: int,
    ) -> None:
        super().__init__()
        self.config = config
        c = config
        generator = torch.Generator().manual_seed(seed)
        self.item_id_ND = nn.Parameter(
            torch.randn(c.n_items, c.dims, generator=generator) * c.init_scale
        )
        self.inner_shift_ND = nn.Parameter(torch.zeros(c.n_items, c.dims), requires_grad=c.shifted)
        self.item_tower = LinearMap(c.item_features, c.dims, item_mean_F)
        self.user_prior = LinearMap(c.user_features, c.dims, user_mean_F)
        self.bias_N = nn.Parameter(torch.as_tensor(bias_N, dtype=torch.float32).clone())
        width = 1 if c.plain else c.dims
        self.rate_KD = nn.Parameter(torch.full((c.steps, width), c.init_rate))
        self.size_rate_KW = nn.Parameter(
            torch.zeros(c.steps, c.window + 1), requires_grad=not c.plain
        )
        self.decay_K = nn.Parameter(torch.full((c.steps,), c.init_decay))
        self.register_buffer("shrinkage_W", shrinkage(c.window, 0.0))

    @property
    def inner(self) -> InnerParameters:
        """The inner loop's parameters."""
        return InnerParameters(
            self.rate_KD, self.size_rate_KW, self.decay_K, self.get_buffer("shrinkage_W")
        )

    def item_vectors(self, features_NF: Tensor) -> Tensor:
        """Item vectors (N, D) from the items' features, dense or sparse."""
        tower_ND: Tensor = self.item_tower(features_NF)
        return self.item_id_ND + tower_ND

    def inner_vectors(self, vectors_ND: Tensor) -> Tensor:
        """The items as the inner loop sees them, (N, D), from `item_vectors`."""
        return vectors_ND + self.inner_shift_ND


def shrinkage(window: int, strength: float) -> Tensor:
    """gamma_n = n / (n + strength) for n = 0 .. window: how far a small support is trusted.

    One click is over-trusted by vectors that were trained on the very users that training adapts,
    so part of the step is taken back; strength 0 takes back nothing.
    """
    size_W = torch.arange(window + 1, dtype=torch.float32)
    gamma_W = size_W / (size_W + strength).clamp(min=1e-12)
    gamma_W[0] = 0.0
    return gamma_W


def sparse_tensor(matrix: csr_matrix, device: torch.device) -> Tensor:
    """A scipy CSR matrix as a sparse tensor on `device`."""
    coordinates = matrix.tocoo()
    indices = np.stack([coordinates.row, coordinates.col]).astype(np.int64)
    return torch.sparse_coo_tensor(
        torch.from_numpy(indices),
        torch.from_numpy(coordinates.data.astype(np.float32)),
        size=matrix.shape,
        device=device,
        is_coalesced=True,
        check_invariants=False,
    )
