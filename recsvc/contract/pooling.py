"""The served score: the adapted vector's scores pooled with the item-item kernel.

The one implementation, for training, gate and service. Knows nothing of where vectors, edges or
weights come from.

    A_i(S) = sum over positive rows s of S of  weight_s * rank[r_s] * strength(s, i)
    score_i = z_i + beta[n] * log(1 + A_i * exp(-theta * (z_i - L) - alpha[n]))
    L = log sum over trained items j of exp(z_j)

with z the vector's scores, n the number of positive rows and r_s how many of them came after s.
theta = 1 and beta = 1 is a mixture of the softmax of z with A; theta = 0 adds the kernel to the
logits; between them theta is learned.

Shape legend: N items, M trained items (the first M of N), E edges, P edges of a support,
S support rows, C items, W window.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.manifest import PoolingSpec

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_FURTHEST = 30.0
"""Exponents are held within this: what lies beyond is all or nothing anyway."""
_LARGEST = float(np.finfo(np.float32).max)
_BLOCK_ROWS = 16_384
"""Exponentials are summed so many at a time: no copy of a large catalogue's scores is made."""


_DENSE = 8
"""Above so many items an edge, edges are sorted by item; below, summed over the whole catalogue."""


class Edges(NamedTuple):
    """What every trained item says about others, as CSR arrays over rows of the catalogue."""

    indptr_M1: NDArray[np.int64]
    item_E: NDArray[np.int32]
    """Ascending within a row."""
    strength_E: Floats
    """exp(e(s, i)), at least 0."""

    @property
    def n_trained(self) -> int:
        return len(self.indptr_M1) - 1

    def of(self, rows_S: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32], Floats]:
        """The edges of some rows of the catalogue; rows from M on have none.

        Returns:
            For each edge: the position of its row in rows_S, its item, its strength; each (P,).
        """
        known = np.flatnonzero(rows_S < self.n_trained)
        rows = rows_S[known]
        starts = self.indptr_M1[rows]
        lengths = self.indptr_M1[rows + 1] - starts
        offsets = np.cumsum(lengths) - lengths
        edge_P = np.arange(lengths.sum()) + np.repeat(starts - offsets, lengths)
        return np.repeat(known, lengths), self.item_E[edge_P], self.strength_E[edge_P]


class Kernel(NamedTuple):
    """Edges, and how what they say joins the vector's scores."""

    edges: Edges
    pooling: PoolingSpec


def support_factors(weight_S: Floats, pooling: PoolingSpec) -> Doubles:
    """How much each support row counts: weight_s * rank[r_s].

    Args:
        weight_S: rows oldest first along the last axis, of any number of supports; 0 for padding
            and for negative rows, which count neither here nor for how recent others are.
        pooling: its `rank`.

    Returns:
        Of the same shape; 0 where the weight is not above 0.
    """
    positive_S = weight_S > 0
    after_S: NDArray[np.int64] = np.cumsum(positive_S[..., ::-1], axis=-1)[..., ::-1] - positive_S
    rank_S = np.asarray(pooling.rank)[np.minimum(after_S, len(pooling.rank) - 1)]
    return np.where(positive_S, weight_S * rank_S, 0.0)


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
    item_P, value_P = _spoken(edges, support_S, weight_S, pooling)
    total_M = np.bincount(item_P, value_P, edges.n_trained)
    mass_M: Floats = np.minimum(total_M, _LARGEST).astype(np.float32)
    return mass_M


def pooled(scores_N: Floats, mass_M: Floats, size: int, pooling: PoolingSpec) -> Floats:
    """The served scores from a mass.

    Args:
        scores_N: z, the vector's.
        mass_M: see `kernel_mass`.
        size: n, positive rows of the support.
        pooling: weights by support size; a larger n uses the last.

    Returns:
        A new (N,) float32 array; only items with a mass differ from z.
    """
    served_N: Floats = scores_N.copy()
    rows = np.flatnonzero(mass_M > 0)
    _raise(served_N, rows, mass_M[rows], len(mass_M), size, pooling)
    return served_N


def add_kernel(
    scores_N: Floats, kernel: Kernel, support_S: NDArray[np.int64], weight_S: Floats
) -> None:
    """Turn the vector's scores into the served ones, in place.

    The same as `pooled` of `kernel_mass`, but costs little more than the support's own edges,
    however large the catalogue is.

    Args:
        scores_N: z; becomes the served scores.
        kernel: of the bundle.
        support_S: see `kernel_mass`.
        weight_S: see `kernel_mass`; n is how many are above 0.
    """
    edges, pooling = kernel
    item_P, value_P = _spoken(edges, support_S, weight_S, pooling)
    rows_C, mass_C = _sum_by_item(item_P, value_P, edges.n_trained)
    size = int(np.count_nonzero(weight_S > 0))
    _raise(scores_N, rows_C, mass_C, edges.n_trained, size, pooling)


def lift(
    scores_C: Doubles, mass_C: NDArray[Any], total: Any, size: Any, pooling: PoolingSpec
) -> Doubles:
    """What the kernel adds to scores of the vector: beta[n] * log(1 + ...).

    All arguments broadcast: of several supports at once, `total` and `size` are columns.

    Args:
        scores_C: z of some items.
        mass_C: A of these items.
        total: L; not looked at where theta is 0.
        size: n, positive rows of the support.
        pooling: weights by support size; a larger n uses the last.
    """
    at = np.minimum(size, len(pooling.beta) - 1)
    exponent = -np.asarray(pooling.alpha)[at]
    if pooling.theta != 0.0:
        exponent = exponent - pooling.theta * (scores_C - total)
    odds = np.minimum(mass_C, _LARGEST) * np.exp(np.clip(exponent, -_FURTHEST, _FURTHEST))
    added: Doubles = np.asarray(pooling.beta)[at] * np.log1p(odds)
    return added


def log_total(scores_M: Floats) -> float:
    """L, the logarithm of the sum of exponentials, without overflow."""
    largest = float(scores_M.max())
    total = 0.0
    with np.errstate(over="ignore"):  # so far below the largest that its exponential is 0
        for start in range(0, len(scores_M), _BLOCK_ROWS):
            total += float(np.exp(scores_M[start : start + _BLOCK_ROWS] - largest).sum())
    return largest + math.log(total)


def _spoken(
    edges: Edges, support_S: NDArray[np.int64], weight_S: Floats, pooling: PoolingSpec
) -> tuple[NDArray[np.int32], Doubles]:
    """Items that the support speaks for, one entry for every edge, and what that edge says."""
    factor_S = support_factors(weight_S, pooling)
    speaking = np.flatnonzero(factor_S)
    place_P, item_P, strength_P = edges.of(support_S[speaking])
    return item_P, strength_P * factor_S[speaking][place_P]


def _sum_by_item(
    item_P: NDArray[np.int32], value_P: Doubles, n_trained: int
) -> tuple[NDArray[np.int64], Doubles]:
    """Items in ascending order, each once, and the sum of their values."""
    if n_trained <= _DENSE * len(item_P):
        total_M = np.bincount(item_P, value_P, n_trained).astype(np.float64, copy=False)
        rows_C = np.flatnonzero(total_M > 0)
        return rows_C, total_M[rows_C]
    key_P = np.sort(item_P.astype(np.int64) << 32 | np.arange(len(item_P)))
    sorted_P, order_P = key_P >> 32, key_P & 0xFFFF_FFFF
    first_C = np.flatnonzero(np.diff(sorted_P, prepend=-1))
    mass_C: Doubles = np.add.reduceat(value_P[order_P], first_C)
    return sorted_P[first_C], mass_C


def _raise(
    scores_N: Floats,
    rows_C: NDArray[Any],
    mass_C: NDArray[Any],
    n_trained: int,
    size: int,
    pooling: PoolingSpec,
) -> None:
    """Add the kernel's part to some rows, in place."""
    if not len(rows_C) or not size:
        return
    total = log_total(scores_N[:n_trained]) if pooling.theta != 0.0 else 0.0
    scores_C = scores_N[rows_C].astype(np.float64)
    scores_N[rows_C] = scores_C + lift(scores_C, mass_C, total, size, pooling)
