"""Adapt item vectors to their first interactions: Bayesian posterior steps, as tensor algebra.

Knows nothing of data or of how its parameters are learned; differentiates and exports.

An item's vector v has the prior N(v0, P⁻¹) from its content. With support users u, and exposed to
a share f of all users (whose Gram matrix is G), the posterior mean solves

    (a Σ u u' + f G + λ P) v = (a + 1) Σ u + λ P v0

In the basis where P = I and G = diag(g) the left side without the support is diagonal, so it is
the preconditioner of a few conjugate-gradient steps; each is exact for one more support row.

Shape legend: I items, S support rows, D dims, B users.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STEPS = 2
"""Conjugate-gradient steps: on ML-1M the lists are as good as with the exact solution."""


Left = Callable[[Tensor], Tensor]
"""v -> A v, for every item."""


class AdaptParameters(NamedTuple):
    """What is learned: one number for all items, or one an item as (I, 1)."""

    log_weight: Tensor
    """Log a."""
    log_strength: Tensor
    """Log λ."""


def adapt_items(
    prior_ID: Tensor,
    support_ISD: Tensor,
    weight_IS: Tensor,
    exposure_I: Tensor,
    gram_D: Tensor,
    parameters: AdaptParameters,
    steps: int = STEPS,
) -> Tensor:
    """Adapt a batch of items, in the basis where the prior's precision is I.

    Args:
        prior_ID: v0, scaled.
        support_ISD: the support users' vectors.
        weight_IS: weight of each row; 0 is padding.
        exposure_I: share of all visits since the item could be met, 0 .. 1.
        gram_D: diagonal of G.
        parameters: of this support size.
        steps: conjugate-gradient steps.

    Returns:
        Vectors (I, D).
    """
    strength = torch.exp(parameters.log_strength)
    diagonal_ID = exposure_I.unsqueeze(1) * gram_D + strength
    a = torch.exp(parameters.log_weight)
    taken_ID = torch.einsum("is,isd->id", weight_IS, support_ISD)
    right_ID = (a + 1.0) * taken_ID + strength * prior_ID

    def left(v_ID: Tensor) -> Tensor:
        met_IS = weight_IS * torch.einsum("isd,id->is", support_ISD, v_ID)
        return diagonal_ID * v_ID + a * torch.einsum("is,isd->id", met_IS, support_ISD)

    return _conjugate_gradients(left, right_ID, diagonal_ID, prior_ID, steps)


def _conjugate_gradients(
    left: Left, right_ID: Tensor, diagonal_ID: Tensor, start_ID: Tensor, steps: int
) -> Tensor:
    """Preconditioned conjugate gradients for every row at once.

    Source: Golub and Van Loan, Matrix Computations, algorithm 11.5.1.
    """
    v_ID = start_ID
    residual_ID = right_ID - left(v_ID)
    z_ID = residual_ID / diagonal_ID
    direction_ID = z_ID
    energy_I1 = (residual_ID * z_ID).sum(dim=1, keepdim=True)
    for _ in range(steps):
        image_ID = left(direction_ID)
        curvature_I1 = (direction_ID * image_ID).sum(dim=1, keepdim=True)
        step_I1 = energy_I1 / curvature_I1.clamp(min=1e-12)
        v_ID = v_ID + step_I1 * direction_ID
        residual_ID = residual_ID - step_I1 * image_ID
        z_ID = residual_ID / diagonal_ID
        fresh_I1 = (residual_ID * z_ID).sum(dim=1, keepdim=True)
        direction_ID = z_ID + fresh_I1 / energy_I1.clamp(min=1e-12) * direction_ID
        energy_I1 = fresh_I1
    return v_ID
