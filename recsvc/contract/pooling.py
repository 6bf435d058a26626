"""The served score: the adapted vector's scores pooled with the item-item kernel.

The one implementation, for training, gate and service. Knows nothing of where vectors, edges or
weights come from.

    A_i(S) = sum over positive rows s of S of  weight_s * rank[r_s] * strength(s, i)
    score_i = z_i + beta[n] * log(1 + A_i * exp(-theta * (z_i - L) - alpha[n]))
    L = log sum over trained items j of exp(z_j)

with z the vector's scores, n the number of positive rows and r_s how many of them came after s.
theta = 1 and beta = 1 is a mixture of the softmax of z with A; theta = 0 adds the kernel to the
logits; between them theta is learned.

Shape legend: N items, M trained items (the first M of N), E edges, S support rows, W window.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.manifest import PoolingSpec

Floats = NDArray[np.float32]
_FURTHEST = 30.0
"""Exponents are held within this: what lies beyond is all or nothing anyway."""


class Edges(NamedTuple):
    """What every trained item says about others, as CSR arrays over rows of the catalogue."""

    indptr_M1: NDArray[np.int64]
    item_E: NDArray[np.int32]
    strength_E: Floats
    """exp(e(s, i)), at least 0."""


def kernel_mass(
    edges: Edges, support_S: NDArray[np.int64], weight_S: Floats, pooling: PoolingSpec
) -> Floats:
    """A: how strongly the support speaks for each trained item.

    Args:
        edges: of the bundle.
        support_S: catalogue rows of the support, oldest first; rows from M on (items that were
            added) have no edges, but count for how recent the others are.
        weight_S: of each row, 0 for padding and for negative rows.
        pooling: its `rank`.

    Returns:
        (M,), 0 where nothing in the support speaks for an item.
    """
    n_trained = len(edges.indptr_M1) - 1
    positive = np.flatnonzero(weight_S > 0)
    rank = np.minimum(np.arange(len(positive))[::-1], len(pooling.rank) - 1)
    factor = weight_S[positive] * np.asarray(pooling.rank, dtype=np.float32)[rank]
    known = support_S[positive] < n_trained
    rows, factor = support_S[positive][known], factor[known]
    starts, stops = edges.indptr_M1[rows], edges.indptr_M1[rows + 1]
    length = stops - starts
    offset = np.cumsum(length) - length
    edge = np.arange(length.sum()) + np.repeat(starts - offset, length)
    value = edges.strength_E[edge] * np.repeat(factor, length)
    mass_M: Floats = np.bincount(edges.item_E[edge], value, n_trained).astype(np.float32)
    return mass_M


def pooled(scores_N: Floats, mass_M: Floats, size: int, pooling: PoolingSpec) -> Floats:
    """The served scores.

    Args:
        scores_N: z, the vector's.
        mass_M: see `kernel_mass`.
        size: n, positive rows of the support.
        pooling: weights by support size; a larger n uses the last.

    Returns:
        A new (N,) float32 array; only items with a mass differ from z.
    """
    served_N: Floats = scores_N.copy()
    rows = np.flatnonzero(mass_M)
    if not len(rows) or not size:
        return served_N
    at = min(size, len(pooling.beta) - 1)
    exponent = np.full(len(rows), -pooling.alpha[at])
    if pooling.theta != 0.0:
        exponent -= pooling.theta * (scores_N[rows] - log_total(scores_N[: len(mass_M)]))
    lift = np.log1p(mass_M[rows] * np.exp(np.clip(exponent, -_FURTHEST, _FURTHEST)))
    served_N[rows] += (pooling.beta[at] * lift).astype(np.float32)
    return served_N


def log_total(scores_M: Floats) -> float:
    """L, the logarithm of the sum of exponentials, without overflow."""
    largest = float(scores_M.max())
    return largest + float(np.log(np.exp(scores_M - largest).sum()))
