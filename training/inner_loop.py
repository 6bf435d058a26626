"""The inner loop: adapt user vectors to their support sets by K gradient steps.

Knows nothing of data, of the outer loop or of ONNX; written as batched tensor algebra with the
analytic gradient, so that it differentiates (second order), vectorises over tasks and exports.

The inner loss of one task is the softmax likelihood of its support over the catalogue, plus a
proximal term that holds the state near its prior (iMAML's regulariser; Rajeswaran et al., 2019):

    L_k(u) = - sum_s a_s (w_s . u + c_s) + log sum_m exp(w_m . u + c_m) + e^lambda_k / 2 |u - u0|^2

with a_s the support weights normalised to 1. Its gradient has a closed form, and each step is

    u <- u - exp(rate_k + size_rate_k[n]) * grad L_k(u),      rate_k in R^D     (Meta-SGD, Li 2017)

After the steps, the state is pulled back to the prior: u <- u0 + gamma[n] (u - u0).

Shape legend: B tasks, S support rows, M catalogue rows, D dims, K steps, W window (sizes 0 .. W).
"""

from typing import NamedTuple

import torch
from torch import Tensor


class InnerParameters(NamedTuple):
    """What meta-learning knows about *how* to adapt."""

    rate_KD: Tensor
    """Log step size per step and dimension."""
    size_rate_KW: Tensor
    """Addition to the log step size per support size, (K, W + 1)."""
    decay_K: Tensor
    """Log strength of the pull to the prior inside the loss."""
    shrinkage_W: Tensor
    """gamma, (W + 1,); gamma[0] = 0."""


def adapt(
    prior_BD: Tensor,
    support_vectors_BSD: Tensor,
    support_bias_BS: Tensor,
    support_label_BS: Tensor,
    support_weight_BS: Tensor,
    steps: Tensor,
    catalogue_vectors_MD: Tensor,
    catalogue_bias_M: Tensor,
    parameters: InnerParameters,
) -> Tensor:
    """Adapt a batch of tasks.

    Args:
        prior_BD: where each task starts.
        support_vectors_BSD: vectors of the support items.
        support_bias_BS: their biases; no part of this loss's gradient, kept for others.
        support_label_BS: 1 for a positive row, 0 for a negative one. Negative rows are left out.
        support_weight_BS: weight of each row, >= 0; 0 is padding.
        steps: int64 scalar, how many of the K steps to take; 0 is the identity.
        catalogue_vectors_MD: items that the softmax runs over.
        catalogue_bias_M: their biases (for a sample: minus its log proposal probability as well).
        parameters: meta-learned step sizes.

    Returns:
        The adapted state, (B, D). A task without support keeps its prior exactly.
    """
    del support_bias_BS  # an input of the bundle's contract that this algorithm has no use for
    weight_BS = support_weight_BS * support_label_BS
    total_B1 = weight_BS.sum(dim=1, keepdim=True)
    share_BS1 = (weight_BS / total_B1.clamp(min=1e-12)).unsqueeze(2)
    target_BD = (share_BS1 * support_vectors_BSD).sum(dim=1)
    window = parameters.shrinkage_W.shape[0] - 1
    size_B = (weight_BS > 0).sum(dim=1).clamp(max=window)

    state_BD = prior_BD
    for k in range(parameters.decay_K.shape[0]):
        logits_BM = torch.addmm(catalogue_bias_M, state_BD, catalogue_vectors_MD.T)
        expected_BD = torch.softmax(logits_BM, dim=1) @ catalogue_vectors_MD
        pull_BD = torch.exp(parameters.decay_K[k]) * (state_BD - prior_BD)
        rate_B1 = parameters.size_rate_KW[k].index_select(0, size_B).unsqueeze(1)
        step_BD = torch.exp(parameters.rate_KD[k] + rate_B1)
        moved_BD = state_BD + step_BD * (target_BD - expected_BD - pull_BD)
        state_BD = torch.where(steps > k, moved_BD, state_BD)
    gamma_B1 = parameters.shrinkage_W.index_select(0, size_B).unsqueeze(1)
    return prior_BD + gamma_B1 * (state_BD - prior_BD)
