"""The kernel: how strongly one support item speaks for another item.

Knows nothing of counting or of training.

    A_i(S) = sum over s in S of exp(e(s, i) + rho[rank of s])        e = linear + MLP(F-H-1)

Shape legend: P pairs, E edges, B tasks, N items, F features, W window.
"""

import torch
from torch import Tensor, nn


class ItemKernel(nn.Module):
    """A few hundred parameters over the features of an edge.

    Args:
        mean_F: mean of the features over training pairs.
        scale_F: their standard deviation.
        window: largest support that training sees.
        seed: of the hidden layer.
    """

    def __init__(
        self, mean_F: Tensor, scale_F: Tensor, window: int, seed: int, hidden: int = 16
    ) -> None:
        super().__init__()
        features = len(mean_F)
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("mean_F", mean_F)
        self.register_buffer("scale_F", scale_F)
        self.linear_F = nn.Parameter(torch.zeros(features))
        self.intercept = nn.Parameter(torch.tensor(-8.0))
        self.hidden_FH = nn.Parameter(
            torch.randn(features, hidden, generator=generator) / features**0.5
        )
        self.hidden_bias_H = nn.Parameter(torch.zeros(hidden))
        self.out_H = nn.Parameter(torch.zeros(hidden))
        self.rank_W = nn.Parameter(torch.zeros(window))
        """rho: by how recent the support item is, 0 the latest."""
        self.prior_W = nn.Parameter(torch.zeros(window + 1))
        """Log weight of the prior distribution beside A, by support size."""
        with torch.no_grad():
            self.linear_F[0] = 1.0

    def edges(self, features_PF: Tensor) -> Tensor:
        """e(s, i) of pairs, (P,)."""
        x_PF = (features_PF - self.get_buffer("mean_F")) / self.get_buffer("scale_F")
        hidden_PH = torch.relu(x_PF @ self.hidden_FH + self.hidden_bias_H)
        strength_P: Tensor = x_PF @ self.linear_F + hidden_PH @ self.out_H + self.intercept
        return strength_P.clamp(max=12.0)

    def mass(
        self, task_P: Tensor, item_P: Tensor, rank_P: Tensor, strength_P: Tensor, b: int, n: int
    ) -> Tensor:
        """A, (B, N), from joined pairs."""
        rank_P = rank_P.clamp(max=len(self.rank_W) - 1)
        value_P = torch.exp(strength_P + self.rank_W[rank_P])
        return value_P.new_zeros(b * n).index_add(0, task_P * n + item_P, value_P).view(b, n)
