"""The meta-loss the usual ways, a loop over tasks and vmap, with inner gradients by autograd.

What the product's batched analytic form is compared with. The inner loss and the query loss are
written from their formulas (see `training.inner_loop`), not from the product's code.

Shape legend: S support rows, Q query rows, W window, N items, D dims, K steps.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from training.algorithms.maml import Batch
from training.model import ColdStartModel

InnerLoss = Callable[[Tensor], Tensor]
Gradient = Callable[[InnerLoss, Tensor], Tensor]


def loop_loss(model: ColdStartModel, batch: Batch, item_features_NF: Tensor) -> Tensor:
    """One task after the other, each inner gradient by `torch.autograd.grad`."""
    vectors_ND = model.item_vectors(item_features_NF)
    prior_BD = model.user_prior(batch.features_BF)
    tasks = zip(prior_BD, batch.support_BS, *_by_task(batch), strict=True)
    inner_ND = model.inner_vectors(vectors_ND)
    losses = [_task_loss(model, vectors_ND, inner_ND, autograd_gradient, *task) for task in tasks]
    return torch.stack(losses).mean()


def vmap_loss(model: ColdStartModel, batch: Batch, item_features_NF: Tensor) -> Tensor:
    """All tasks under `torch.func.vmap`, each inner gradient by `torch.func.grad`."""
    vectors_ND = model.item_vectors(item_features_NF)
    inner_ND = model.inner_vectors(vectors_ND)
    prior_BD = model.user_prior(batch.features_BF)

    def one_task(*task: Tensor) -> Tensor:
        return _task_loss(model, vectors_ND, inner_ND, functional_gradient, *task)

    losses_B: Tensor = torch.func.vmap(one_task)(prior_BD, batch.support_BS, *_by_task(batch))
    return losses_B.mean()


def autograd_gradient(loss: InnerLoss, state_D: Tensor) -> Tensor:
    """The inner gradient, itself differentiable."""
    (gradient_D,) = torch.autograd.grad(loss(state_D), state_D, create_graph=True)
    return gradient_D


def functional_gradient(loss: InnerLoss, state_D: Tensor) -> Tensor:
    """The same as a function transform, which vmap can batch."""
    gradient_D: Tensor = torch.func.grad(loss)(state_D)
    return gradient_D


def _by_task(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Query items and weights (B, Q) and masked items (B, W): every task has as many here."""
    tasks = len(batch.support_BS)
    return (
        batch.query_item.reshape(tasks, -1),
        batch.query_weight.reshape(tasks, -1),
        batch.masked_item.reshape(tasks, -1),
    )


def _task_loss(
    model: ColdStartModel,
    vectors_ND: Tensor,
    inner_ND: Tensor,
    gradient: Gradient,
    prior_D: Tensor,
    support_S: Tensor,
    query_Q: Tensor,
    weight_Q: Tensor,
    masked_W: Tensor,
) -> Tensor:
    """The query loss of one task after its K inner steps."""
    inner, size = model.inner, len(support_S)
    support_SD, support_bias_S = inner_ND[support_S], model.bias_N[support_S]
    state_D = prior_D
    for k in range(model.config.steps):

        def inner_loss(state_D: Tensor, k: int = k) -> Tensor:
            likelihood = (support_SD @ state_D + support_bias_S).mean()
            log_total = torch.logsumexp(inner_ND @ state_D + model.bias_N, dim=0)
            distance = (state_D - prior_D).square().sum()
            return log_total - likelihood + inner.decay_K[k].exp() / 2 * distance

        rate_D = torch.exp(inner.rate_KD[k] + inner.size_rate_KW[k, size])
        state_D = state_D - rate_D * gradient(inner_loss, state_D)
    state_D = prior_D + inner.shrinkage_W[size] * (state_D - prior_D)
    logits_N = vectors_ND @ state_D + model.bias_N
    masked_N = logits_N.index_fill(0, masked_W, -torch.inf)
    return -((logits_N[query_Q] - torch.logsumexp(masked_N, dim=0)) * weight_Q).sum()
