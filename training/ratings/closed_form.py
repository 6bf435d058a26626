"""Adaptation in closed form: Gaussian regression over the support, differentiable in its weights.

Knows nothing of how ingredients were fitted or weights are chosen.

With kernel weights, a noise and prior means given, the prediction is the posterior mean of a
Gaussian process over items: what gradient steps on the support's regularised squared error
converge to. `theta` holds what is meta-learned.

Shape legend: B tasks, S support rows, Q query rows, K kernels, D dims of a kernel, L parts of a
level.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.ratings.knowledge import Knowledge
from training.ratings.tasks import RatingTasks


@dataclass(frozen=True, slots=True)
class Theta:
    """What the adaptation is told by meta-training; all are differentiable."""

    log_weight_K: Tensor
    """Log of each kernel's prior variance."""
    log_noise: Tensor
    noise_power: Tensor
    """0: all items are equally noisy; 1: as measured."""
    level: Tensor
    """(1 + L,) what is added to every rating, and the trust in each part of item levels."""
    prior: Tensor
    """(4,) trust in the prior means: factors and bias from features, the same with the choice."""

    def tensors(self) -> list[Tensor]:
        return [self.log_weight_K, self.log_noise, self.noise_power, self.level, self.prior]

    def detached(self) -> "Theta":
        return Theta(*(t.detach().clone() for t in self.tensors()))


def start(knowledge: Knowledge) -> Theta:
    """Weights to begin with."""
    factors = len(knowledge.factors)
    weights = [0.15] + [1.0 / max(factors, 1)] * factors + [0.03] * len(knowledge.content)
    return Theta(
        torch.tensor(np.log(weights)),
        torch.tensor(-0.4, dtype=torch.float64),
        torch.tensor(0.5, dtype=torch.float64),
        torch.tensor([0.0] + [1.0] * len(knowledge.level_LN), dtype=torch.float64),
        torch.tensor([0.3, 0.3, 0.5, 0.5], dtype=torch.float64),
    )


@dataclass(frozen=True, slots=True)
class Inputs:
    """Tasks as tensors."""

    given_BS: Tensor
    residual_BS: Tensor
    """Support ratings minus the mean."""
    level_LBS: Tensor
    level_LBQ: Tensor
    """Item biases in parts."""
    noise_BS: Tensor
    prior_4BS: Tensor
    prior_4BQ: Tensor
    """What the four prior means say of the items."""
    kernels: tuple[tuple[Tensor, Tensor], ...]
    """(B, S, D) and (B, Q, D) of every kernel but the constant one."""


def inputs(knowledge: Knowledge, tasks: RatingTasks) -> Inputs:
    """Look the tasks' items up in what was learned."""
    given_BS = tasks.given_BS
    support_BS, query_BQ = np.where(given_BS, tasks.support_item_BS, 0), tasks.query_item_BQ
    priors = knowledge.priors(tasks)
    said = [
        [part for prior in priors for part in knowledge.prior_ratings(prior, items)]
        for items in (support_BS, query_BQ)
    ]
    spaces = (*knowledge.factors, *knowledge.content)
    return Inputs(
        torch.from_numpy(given_BS.astype(np.float64)),
        torch.from_numpy(np.where(given_BS, tasks.support_rating_BS - knowledge.mean, 0.0)),
        torch.from_numpy(knowledge.level_LN[:, support_BS]),
        torch.from_numpy(knowledge.level_LN[:, query_BQ]),
        torch.from_numpy(knowledge.noise_N[support_BS]),
        torch.from_numpy(np.stack(said[0])),
        torch.from_numpy(np.stack(said[1])),
        tuple(
            (torch.from_numpy(space[support_BS]), torch.from_numpy(space[query_BQ]))
            for space in spaces
        ),
    )


def adapt(x: Inputs, theta: Theta) -> Tensor:
    """Predictions relative to the mean rating, (B, Q).

    Source: Rasmussen and Williams (2006), equation 2.38, with prior means.
    """
    weight_K = torch.exp(theta.log_weight_K)
    among_BSS = weight_K[0] * torch.ones_like(x.given_BS[:, :, None] * x.given_BS[:, None, :])
    across_BQS = weight_K[0] * torch.ones_like(x.level_LBQ[0][:, :, None] * x.given_BS[:, None, :])
    for weight, (support_BSD, query_BQD) in zip(weight_K[1:], x.kernels, strict=True):
        among_BSS = among_BSS + weight * (support_BSD @ support_BSD.mT)
        across_BQS = across_BQS + weight * (query_BQD @ support_BSD.mT)
    given_B1S = x.given_BS[:, None, :]
    noise_BS = torch.exp(theta.log_noise + theta.noise_power * torch.log(x.noise_BS))
    diagonal_BS = noise_BS * x.given_BS + (1.0 - x.given_BS)
    among_BSS = among_BSS * given_B1S * x.given_BS[:, :, None] + torch.diag_embed(diagonal_BS)
    prior_BS = _prior(theta, x.level_LBS, x.prior_4BS)
    prior_BQ = _prior(theta, x.level_LBQ, x.prior_4BQ)
    left_BS = (x.residual_BS - prior_BS) * x.given_BS
    factor_BSS = torch.linalg.cholesky(among_BSS)
    solved_BS1 = torch.cholesky_solve(left_BS[:, :, None], factor_BSS)
    return prior_BQ + ((across_BQS * given_B1S) @ solved_BS1)[:, :, 0]


def _prior(theta: Theta, level_LBX: Tensor, prior_4BX: Tensor) -> Tensor:
    """What is expected of items before the support, relative to the mean rating, (B, X)."""
    by_level_BX = torch.einsum("l,lbx->bx", theta.level[1:], level_LBX)
    return theta.level[0] + by_level_BX + torch.einsum("p,pbx->bx", theta.prior, prior_4BX)
