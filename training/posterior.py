"""Adapt items to their first interactions: a posterior in the users' own space, as tensor algebra.

Knows nothing of data or of how its parameters are learned; differentiates, vectorises and exports.

An event of a user with state u takes item i with the chance exp(u . v_i + b_i - o), where o is the
log of the summed exponentials of all trained items' scores. So an item with theta = (v, b), which
n users x_s = (u_s, 1) took while all users together had E events, has the log posterior

    sum_s w_s x_s . theta - (E - 1 + e) c mean_m exp(x_m . theta - o_m)
        - log mean_m exp(x_m . theta - o_m) - 1/2 (theta - theta_0)' C^-1 (theta - theta_0)

with m over sample users, drawn by their share of the events, and C the covariance of what content
leaves open. Exposure counts from the first event: when that one came says nothing, only whose it
was, and that is the term with the logarithm. The posterior is concave. With theta = theta_0 + L z
and L L' = C it is climbed in z by a few Newton steps, each solved by a few conjugate-gradient
steps; no matrix of an item's own is ever formed. A bias that lifts the item above the popular ones
among the trained items is cut to their level.

Shape legend: B items, S support rows, M sample users, D dims, P = D + 1 (vector and bias).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsvc.contract.manifest import ItemAdaptationSpec

NEWTON_STEPS = 3
SOLVER_STEPS = 3
"""On ML-1M the lists are those of 8 and 10 steps."""
_LEVEL_STEPS = 4
_FARTHEST = 1.5
"""Most that one Newton step changes any sample user's score: the exponential bends faster."""
_HIGHEST = 10.0
"""Log rates are cut here: a chance is below 1, so only a wrong input comes near."""


class PosteriorParameters(NamedTuple):
    """What is learned of new items."""

    root_PP: Tensor
    """L."""
    exposure_weight: Tensor
    """c, a scalar: how much an event of somebody else's counts; below 1 where events come in
    bursts, and where trained items are known too well to their own users."""
    burst: Tensor
    """e, a count of events added to every known exposure: first interactions come in bursts (many
    users at once go through the same list), which look like popularity."""
    first_event: Tensor
    """A scalar: 1 where exposure counts from the item's first event, which then says nothing of
    how often the item is taken; 0 where it counts from a time that the item had no part in."""
    ceiling: Tensor
    """Log of the mean chance over sample users that no interaction lifts an item above: where
    nothing else goes on, ten users who all take one item say little of how popular it will be."""
    offset: Tensor
    """A scalar that the prior's biases hold beside what content says of how often an item is
    taken: how much more new items will be asked for. No part of the likelihood."""


@dataclass(frozen=True, slots=True)
class ItemAdaptation:
    """How new items follow their first interactions."""

    parameters: PosteriorParameters
    sample_states_MD: NDArray[np.float32]
    sample_offset_M: NDArray[np.float32]
    max_support: int

    @property
    def spec(self) -> ItemAdaptationSpec:
        """What the manifest says of it."""
        return ItemAdaptationSpec(
            max_support=self.max_support, sample_users=len(self.sample_offset_M)
        )


def adapt_items(
    prior_BP: Tensor,
    support_states_BSD: Tensor,
    support_weight_BS: Tensor,
    exposure_B: Tensor,
    sample_states_MD: Tensor,
    sample_offset_M: Tensor,
    parameters: PosteriorParameters,
) -> Tensor:
    """Adapt a batch of items.

    Args:
        prior_BP: what content says, the bias last.
        support_states_BSD: states of the users who took the item.
        support_weight_BS: weight of each row, >= 0; 0 is padding.
        exposure_B: E, a count of events, the item's own ones included; 0 where it is not known,
            and then it is taken for what the prior expects.
        sample_states_MD: states of some users, drawn by their share of all events.
        sample_offset_M: o of each.
        parameters: what is learned.

    Returns:
        Vectors and biases, (B, P). An item without support and exposure keeps its prior exactly.
    """
    root_DP, root_P = parameters.root_PP[:-1], parameters.root_PP[-1]
    sample_MP = sample_states_MD @ root_DP + root_P  # x_m' L
    bias_B1 = prior_BP[:, -1:] - parameters.offset
    base_BM = prior_BP[:, :-1] @ sample_states_MD.T + bias_B1 - sample_offset_M
    taken_B1 = support_weight_BS.sum(dim=1, keepdim=True)
    taken_BD = torch.einsum("bs,bsd->bd", support_weight_BS, support_states_BSD)
    pull_BP = taken_BD @ root_DP + taken_B1 * root_P
    first_B1 = parameters.first_event * taken_B1.clamp(max=1.0)
    chance_BM = torch.exp(base_BM.clamp(max=_HIGHEST))
    later_B1 = (taken_B1 - first_B1).clamp(min=0.0)
    known_B1 = exposure_B.unsqueeze(1)
    met_B1 = parameters.exposure_weight * ((known_B1 - first_B1).clamp(min=0.0) + parameters.burst)
    usual_B1 = later_B1 / chance_BM.mean(dim=1, keepdim=True).clamp(min=1e-20)
    met_B1 = torch.where(known_B1 > 0, met_B1, usual_B1) / sample_offset_M.shape[0]

    expected_B1 = met_B1 * chance_BM.sum(dim=1, keepdim=True)
    z_BP = _level(later_B1, expected_B1, root_P)
    for _ in range(NEWTON_STEPS):
        chance_BM = torch.exp((base_BM + z_BP @ sample_MP.T).clamp(max=_HIGHEST))
        share_BM = first_B1 * chance_BM / chance_BM.sum(dim=1, keepdim=True).clamp(min=1e-20)
        rate_BM = met_B1 * chance_BM + share_BM
        mean_BP = share_BM @ sample_MP
        gradient_BP = pull_BP - rate_BM @ sample_MP - z_BP

        def curvature(
            way_BP: Tensor, rate_BM: Tensor = rate_BM, mean_BP: Tensor = mean_BP
        ) -> Tensor:
            spread_BP = (rate_BM * (way_BP @ sample_MP.T)) @ sample_MP
            return spread_BP - mean_BP * (mean_BP * way_BP).sum(dim=1, keepdim=True) + way_BP

        step_BP = _solve(curvature, gradient_BP)
        farthest_B1 = (step_BP @ sample_MP.T).abs().amax(dim=1, keepdim=True)
        z_BP = z_BP + step_BP * (_FARTHEST / farthest_B1.clamp(min=1e-9)).clamp(max=1.0)
    adapted_BP = prior_BP + z_BP @ parameters.root_PP.T
    before_B, after_B = _log_mean(base_BM), _log_mean(base_BM + z_BP @ sample_MP.T)
    excess_B = (after_B - torch.maximum(before_B, parameters.ceiling)).clamp(min=0.0)
    return torch.cat([adapted_BP[:, :-1], adapted_BP[:, -1:] - excess_B.unsqueeze(1)], dim=1)


def _log_mean(log_chance_BM: Tensor) -> Tensor:
    """Log of the mean chance over the sample users, (B,)."""
    chance_BM = torch.exp(log_chance_BM.clamp(max=_HIGHEST))
    return chance_BM.mean(dim=1).clamp(min=1e-30).log()


def _level(later_B1: Tensor, expected_B1: Tensor, root_P: Tensor) -> Tensor:
    """Where the steps start: the bias alone at its best, in units of z.

    Newton's method on later - expected e^d - d / variance, from the side where it is monotone.
    """
    variance = (root_P**2).sum()
    ratio_B1 = later_B1.clamp(min=1e-6) / expected_B1.clamp(min=1e-6)
    rise_B1 = torch.log(ratio_B1).clamp(min=0.0)
    for _ in range(_LEVEL_STEPS):
        more_B1 = expected_B1 * torch.exp(rise_B1)
        slope_B1 = more_B1 + 1.0 / variance
        rise_B1 = rise_B1 - (more_B1 + rise_B1 / variance - later_B1) / slope_B1
    return rise_B1 * root_P / variance


def _solve(left: Callable[[Tensor], Tensor], right_BP: Tensor) -> Tensor:
    """Conjugate gradients for every row at once, from zero.

    Source: Golub and Van Loan, Matrix Computations, algorithm 11.3.3.
    """
    x_BP = torch.zeros_like(right_BP)
    residual_BP = direction_BP = right_BP
    energy_B1 = (residual_BP**2).sum(dim=1, keepdim=True)
    for _ in range(SOLVER_STEPS):
        image_BP = left(direction_BP)
        length_B1 = energy_B1 / (direction_BP * image_BP).sum(dim=1, keepdim=True).clamp(min=1e-20)
        x_BP = x_BP + length_B1 * direction_BP
        residual_BP = residual_BP - length_B1 * image_BP
        fresh_B1 = (residual_BP**2).sum(dim=1, keepdim=True)
        direction_BP = residual_BP + fresh_B1 / energy_B1.clamp(min=1e-20) * direction_BP
        energy_B1 = fresh_B1
    return x_BP
