"""MAML, second order: the query loss after adaptation, differentiated through the inner loop.

Knows nothing of how episodes are drawn or of the optimiser.

Source: Finn, Abbeel and Levine (2017); per-dimension step sizes as in Meta-SGD (Li et al., 2017).

Shape legend: B tasks, S support rows, N items, D dims.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.inner_loop import adapt
from training.model import ColdStartModel

_EXCLUDED = -1e9
"""Logit of an item that takes no part; finite, so that no gradient becomes NaN."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Episodes as tensors on the training device."""

    features_BF: Tensor
    support_BS: Tensor
    """int64 item codes, -1 as padding."""
    query_row: Tensor
    query_item: Tensor
    query_weight: Tensor
    """Weight of every query pair."""
    masked_row: Tensor
    masked_item: Tensor


def adapted_states(
    model: ColdStartModel,
    features_BF: Tensor,
    support_BS: Tensor,
    inner_ND: Tensor,
    steps: int | None = None,
) -> Tensor:
    """Adapt every task to its support: (B, D).

    Args:
        model: what was learned.
        features_BF: encoded users.
        support_BS: rows of the model, -1 as padding.
        inner_ND: `ColdStartModel.inner_vectors`.
        steps: fewer than the model's; None: all.
    """
    present_BS = (support_BS >= 0).to(inner_ND.dtype)
    item_BS = support_BS.clamp(min=0)
    return adapt(
        prior_BD=model.user_prior(features_BF),
        support_vectors_BSD=inner_ND[item_BS],
        support_bias_BS=model.bias_N[item_BS],
        support_label_BS=torch.ones_like(present_BS),
        support_weight_BS=present_BS,
        steps=torch.tensor(model.config.steps if steps is None else steps),
        catalogue_vectors_MD=inner_ND,
        catalogue_bias_M=model.bias_N,
        parameters=model.inner,
    )


def query_loss(logits_BN: Tensor, batch: Batch) -> Tensor:
    """Weighted softmax likelihood of the query over the catalogue without the window, per task."""
    masked_BN = logits_BN.index_put(
        (batch.masked_row, batch.masked_item), logits_BN.new_tensor(_EXCLUDED)
    )
    log_chance_BN = torch.log_softmax(masked_BN, dim=1)  # no query item is masked
    log_chance = log_chance_BN[batch.query_row, batch.query_item]
    return -(log_chance * batch.query_weight).sum() / len(batch.support_BS)


def meta_loss(model: ColdStartModel, batch: Batch, item_features_NF: Tensor) -> Tensor:
    """The outer loss of one batch; its gradient is the second-order meta-gradient."""
    vectors_ND = model.item_vectors(item_features_NF)
    inner_ND = model.inner_vectors(vectors_ND)
    state_BD = adapted_states(model, batch.features_BF, batch.support_BS, inner_ND)
    logits_BN = torch.addmm(model.bias_N, state_BD, vectors_ND.T)
    return query_loss(logits_BN.float(), batch)
