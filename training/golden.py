"""Golden rows: inputs and torch's answers, replayed by whoever opens a bundle.

Knows nothing of ONNX: the answers come from the model that was trained, not from its export.

Shape legend: G users, H item rows, S support rows, N items, M trained items, D dims.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsvc.contract.pooling import Kernel, add_kernel
from training.inner_loop import InnerParameters, adapt
from training.item_prior import ItemPrior
from training.metrics import top_items
from training.posterior import ItemAdaptation, adapt_items
from training.tasks import PADDING

_USERS = 8
_SUPPORT = 6
_SEED = 20_011


def golden_rows(
    user_features_BF: NDArray[np.float32],
    user_prior_FD: NDArray[np.float32],
    item_features_HF: NDArray[np.float32],
    item_prior: ItemPrior,
    vectors_ND: NDArray[np.float32],
    bias_N: NDArray[np.float32],
    inner_vectors_MD: NDArray[np.float32],
    inner: InnerParameters,
    steps: int,
    kernel: Kernel | None,
    items: ItemAdaptation | None,
) -> dict[str, NDArray[Any]]:
    """Draw golden inputs and compute what the bundle must answer.

    Args:
        user_features_BF: encoded users to draw from.
        user_prior_FD: map to priors.
        item_features_HF: encoded item rows, all used.
        item_prior: says vector and bias.
        vectors_ND: item vectors.
        bias_N: item biases.
        inner_vectors_MD: the first M items, which are trained, as the inner loop sees them;
            supports are drawn from them.
        inner: parameters of the inner loop.
        steps: K.
        kernel: joins the scores behind the lists; None: the vector alone.
        items: how items adapt; None: they do not, and no row is about it.

    Returns:
        The arrays of golden.npz. Supports have 0, 1, .. `_SUPPORT` rows, padding behind.
    """
    rng = np.random.default_rng(_SEED)
    trained_items = len(inner_vectors_MD)
    users = rng.integers(0, len(user_features_BF), _USERS)
    features_GF = user_features_BF[users]
    support_GS = np.full((_USERS, _SUPPORT), PADDING, dtype=np.int64)
    for row in range(_USERS):
        size = min(row % (_SUPPORT + 1), trained_items)
        support_GS[row, :size] = rng.choice(trained_items, size, replace=False)
    weight_GS = (support_GS >= 0).astype(np.float32)
    prior_GD = features_GF @ user_prior_FD
    item_GS = np.maximum(support_GS, 0)
    with torch.no_grad():
        state_GP = adapt(
            torch.as_tensor(prior_GD),
            torch.as_tensor(inner_vectors_MD[item_GS] * weight_GS[..., None]),
            torch.as_tensor(bias_N[item_GS] * weight_GS),
            torch.ones(weight_GS.shape),
            torch.as_tensor(weight_GS),
            torch.tensor(steps),
            torch.as_tensor(inner_vectors_MD),
            torch.as_tensor(bias_N[:trained_items]),
            InnerParameters(*(p.detach().cpu() for p in inner)),
        ).numpy()
    with torch.no_grad():
        said = item_prior(torch.as_tensor(item_features_HF))
    prior_HD, bias_H = (part.numpy() for part in said)
    return {
        "user_features_GF": features_GF,
        "prior_GD": prior_GD,
        "support_items_GS": support_GS,
        "support_label_GS": np.ones_like(weight_GS),
        "support_weight_GS": weight_GS,
        "steps": np.asarray(steps, dtype=np.int64),
        "state_GP": state_GP,
        "top_items_G10": golden_lists(state_GP, support_GS, vectors_ND, bias_N, kernel),
        "item_features_HF": item_features_HF,
        "item_prior_vectors_HD": prior_HD,
        "item_prior_bias_H": bias_H,
        **({} if items is None else _adapted_items(prior_HD, bias_H, items, rng)),
    }


def _adapted_items(
    prior_HD: NDArray[np.float32],
    bias_H: NDArray[np.float32],
    items: ItemAdaptation,
    rng: np.random.Generator,
) -> dict[str, NDArray[Any]]:
    """Items that 0, 1, .. `_SUPPORT` sample users took, as rows of golden.npz."""
    size_H = np.arange(len(bias_H)) % (_SUPPORT + 1)
    users_HS = rng.integers(0, len(items.sample_offset_M), (len(size_H), _SUPPORT))
    weight_HS = (np.arange(_SUPPORT) < size_H[:, None]).astype(np.float32)
    exposure_H = (size_H * 10.0 ** rng.uniform(0, 3, len(size_H))).astype(np.float32)
    states_HSD = items.sample_states_MD[users_HS] * weight_HS[..., None]
    with torch.no_grad():
        adapted_HP = adapt_items(
            torch.as_tensor(np.column_stack([prior_HD, bias_H])),
            torch.as_tensor(states_HSD),
            torch.as_tensor(weight_HS),
            torch.as_tensor(exposure_H),
            torch.as_tensor(items.sample_states_MD),
            torch.as_tensor(items.sample_offset_M),
            items.parameters,
        ).numpy()
    return {
        "item_adapt_prior_vectors_HD": prior_HD,
        "item_adapt_prior_bias_H": bias_H,
        "item_adapt_states_HSD": states_HSD,
        "item_adapt_offset_HS": items.sample_offset_M[users_HS] * weight_HS,
        "item_adapt_weight_HS": weight_HS,
        "item_adapt_exposure_H": exposure_H,
        "item_adapt_vectors_HD": adapted_HP[:, :-1],
        "item_adapt_bias_H": adapted_HP[:, -1],
    }


def golden_lists(
    state_GP: NDArray[np.float32],
    support_GS: NDArray[np.int64],
    vectors_ND: NDArray[np.float32],
    bias_N: NDArray[np.float32],
    kernel: Kernel | None,
) -> NDArray[np.int64]:
    """The ten best items of every golden user without their support, (G, 10).

    Args:
        state_GP: adapted states; the first D entries are the vector.
        support_GS: rows of the supports, -1 as padding.
        vectors_ND: item vectors.
        bias_N: item biases.
        kernel: joins the scores; None: the vector alone.
    """
    scores_GN = state_GP[:, : vectors_ND.shape[1]] @ vectors_ND.T + bias_N
    present_GS = support_GS >= 0
    if kernel is not None:
        weight_GS = present_GS.astype(np.float32)
        for scores_N, items_S, weight_S in zip(scores_GN, support_GS, weight_GS, strict=True):
            add_kernel(scores_N, kernel, items_S, weight_S)
    seen_GN = np.zeros(scores_GN.shape, dtype=np.bool_)
    rows, columns = np.nonzero(present_GS)
    seen_GN[rows, support_GS[rows, columns]] = True
    return top_items(scores_GN, seen_GN, 10)
