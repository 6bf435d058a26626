"""What an item's content says of its vector and bias, as a module that exports.

Knows nothing of how it is fitted. Numbers and dates are spread over bumps along their range,
because what they say is rarely linear; everything else is a linear map.

Shape legend: B items, F encoded positions, K numeric columns, J bumps, P = D + 1.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn

BUMPS = np.linspace(-4.0, 4.0, 33)
"""Centres, in standard deviations of the column."""
BUMP_WIDTH = 0.35
_BLOCK_ITEMS = 1024


class ItemPrior(nn.Module):
    """Encoded features to vector and bias of an item without interactions."""

    def __init__(
        self,
        weight_FP: NDArray[np.floating],
        flags_K: NDArray[np.integer],
        values_K: NDArray[np.integer],
        weight_KJP: NDArray[np.floating],
    ) -> None:
        """
        Args:
            weight_FP: linear part, the bias last; zero where a numeric column's value is.
            flags_K: positions of the numeric columns' presence flags.
            values_K: positions of their values.
            weight_KJP: of their bumps.
        """
        super().__init__()
        self.register_buffer("weight_FP", torch.as_tensor(weight_FP, dtype=torch.float32))
        self.register_buffer("flags_K", torch.as_tensor(flags_K, dtype=torch.int64))
        self.register_buffer("values_K", torch.as_tensor(values_K, dtype=torch.int64))
        self.register_buffer("weight_KJP", torch.as_tensor(weight_KJP, dtype=torch.float32))
        self.register_buffer("centres_J", torch.as_tensor(BUMPS, dtype=torch.float32))

    @property
    def features(self) -> int:
        """F."""
        return int(self.get_buffer("weight_FP").shape[0])

    def of(self, features: csr_matrix) -> NDArray[np.float32]:
        """What the content of any number of items says, (B, P), a dense block at a time."""
        parts = [np.zeros((0, self.get_buffer("weight_FP").shape[1]), dtype=np.float32)]
        with torch.no_grad():
            for start in range(0, features.shape[0], _BLOCK_ITEMS):
                rows_BF = torch.as_tensor(features[start : start + _BLOCK_ITEMS].toarray())
                vectors_BD, bias_B = self(rows_BF.float())
                parts.append(torch.cat([vectors_BD, bias_B.unsqueeze(1)], dim=1).numpy())
        return np.concatenate(parts)

    def forward(self, features_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, D) and biases (B,)."""
        both_BP: Tensor = features_BF @ self.get_buffer("weight_FP")
        if len(self.get_buffer("flags_K")):
            known_BK1 = features_BF.index_select(1, self.get_buffer("flags_K")).unsqueeze(2)
            value_BK1 = features_BF.index_select(1, self.get_buffer("values_K")).unsqueeze(2)
            far_BKJ = (value_BK1 - self.get_buffer("centres_J")) / BUMP_WIDTH
            bump_BKJ = known_BK1 * torch.exp(-0.5 * far_BKJ**2)
            both_BP = both_BP + torch.einsum("bkj,kjp->bp", bump_BKJ, self.get_buffer("weight_KJP"))
        return both_BP[:, :-1], both_BP[:, -1]
