"""The adapt_item graph: an item's vector from its content and its first interactions.

Knows nothing of files or of how settings were found. What was learned for some support
sizes is kept as tables over 0 .. window; a size between two takes the smaller one's.

Shape legend: B items, S support rows, D dims, W window (sizes 0 .. W).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from training.items.adapt import AdaptParameters, adapt_items

TABLES = ("prior", "flatness", "strength", "weight", "scale", "norm_power")
"""Settings that depend on the support size."""
OUTPUTS = ("vectors_BD", "scale_B", "norm_power_B")


class AdaptItem(nn.Module):
    """Everything in the users' own basis; the common basis is within.

    The score of user u is scale * (|u| / mean norm)^-norm_power * u . vector.
    """

    def __init__(
        self, basis_DD: Tensor, gram_D: Tensor, by_size: Mapping[int, Mapping[str, float]]
    ) -> None:
        """
        Args:
            basis_DD: maps users into the basis in which the prior's precision is I.
            gram_D: diagonal of the users' Gram matrix in it.
            by_size: settings of the sizes that were learned, 0 among them.
        """
        super().__init__()
        self.register_buffer("basis_DD", basis_DD)
        self.register_buffer("inverse_DD", torch.linalg.inv(basis_DD.double()).float())
        self.register_buffer("gram_D", gram_D)
        learned = sorted(by_size)
        nearest = [max(k for k in learned if k <= n) for n in range(learned[-1] + 1)]
        for name in TABLES:
            values = torch.tensor([by_size[k][name] for k in nearest], dtype=torch.float32)
            self.register_buffer(f"{name}_W", values)

    def forward(
        self,
        prior_BD: Tensor,
        flat_prior_BD: Tensor,
        support_vectors_BSD: Tensor,
        support_weight_BS: Tensor,
        exposure_B: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Adapt a batch of items.

        Args:
            prior_BD: vectors from content, well-known items weighing more.
            flat_prior_BD: the same, all items weighing alike.
            support_vectors_BSD: vectors of the users who took the item.
            support_weight_BS: weight of each; 0 is padding.
            exposure_B: share of all visits that the item was exposed to; without support it is
                not looked at.

        Returns:
            Vectors (B, D), and scale and power of their scores (B,).
        """
        basis_DD, inverse_DD = self.get_buffer("basis_DD"), self.get_buffer("inverse_DD")
        gram_D = self.get_buffer("gram_D")
        last = self.get_buffer("prior_W").shape[0] - 1
        size_B = (support_weight_BS > 0).sum(dim=1).clamp(max=last)

        def at_size(name: str) -> Tensor:
            return self.get_buffer(f"{name}_W").index_select(0, size_B).unsqueeze(1)

        flat_B1 = at_size("flatness")
        mixed_BD = ((1.0 - flat_B1) * prior_BD + flat_B1 * flat_prior_BD) @ inverse_DD
        adapted_BD = adapt_items(
            at_size("prior") * mixed_BD,
            support_vectors_BSD @ basis_DD.T,
            support_weight_BS,
            torch.where(size_B > 0, exposure_B, torch.zeros_like(exposure_B)),
            gram_D,
            AdaptParameters(
                torch.log(at_size("weight")), torch.log(at_size("strength") * gram_D.mean())
            ),
        )
        return (
            adapted_BD @ basis_DD,
            at_size("scale").squeeze(1),
            at_size("norm_power").squeeze(1),
        )


def example(dims: int) -> tuple[dict[str, Tensor], dict[str, dict[int, Any]]]:
    """Inputs to trace with, and which of their dimensions stay dynamic."""
    b, s = Dim("B"), Dim("S")
    inputs = {
        "prior_BD": torch.zeros(2, dims),
        "flat_prior_BD": torch.zeros(2, dims),
        "support_vectors_BSD": torch.zeros(2, 3, dims),
        "support_weight_BS": torch.ones(2, 3),
        "exposure_B": torch.zeros(2),
    }
    dynamic: dict[str, dict[int, Any]] = {name: {0: b} for name in inputs}
    dynamic["support_vectors_BSD"][1] = s
    dynamic["support_weight_BS"][1] = s
    return inputs, dynamic
