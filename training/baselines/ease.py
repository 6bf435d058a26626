"""EASE: one closed-form item-item regression over the training users.

Knows nothing of tuning or priors. The matrix is dense, so on a large catalogue only the most
popular items take part; the others keep their prior.

Shape legend: B users of a block, S support rows, N items, M items that take part.

Source: Steck (2019), Embarrassingly Shallow Autoencoders for Sparse Data.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from training.baselines.blend import FoldIn
from training.baselines.interactions import binary_matrix, support_matrix
from training.methods import ColdUserData

MAX_ITEMS = 12_000
"""Items of the dense matrix: at 12,000 it takes 0.6 GB twice, and about a minute a setting."""

_BLOCK_ROWS = 1_024


class EASE:
    """Weights B = I - P / diag(P), P = (XᵀX + λI)⁻¹, with a zero diagonal; scores s B."""

    name = "ease"
    axes: Mapping[str, Sequence[float]] = {
        "l2": (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0)
    }
    starts: Sequence[Mapping[str, float]] = ({"l2": 1000.0},)

    def fit(self, data: ColdUserData, settings: Mapping[str, float]) -> FoldIn:
        items_M = _taking_part(data)
        weights_MM = _weights(data, items_M, settings["l2"])

        def fold_in(support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
            support = support_matrix(support_BS, data.n_items)[:, items_M]
            scores_BN = np.zeros((len(support_BS), data.n_items), dtype=np.float32)
            scores_BN[:, items_M] = support @ weights_MM
            return scores_BN

        return fold_in


def _taking_part(data: ColdUserData) -> NDArray[np.intp]:
    """The most popular candidates, ascending."""
    counts_N = data.train.counts()
    best = np.argsort(-counts_N, kind="stable")[:MAX_ITEMS]
    return np.sort(best[counts_N[best] > 0])


def _weights(data: ColdUserData, items_M: NDArray[np.intp], l2: float) -> NDArray[np.float32]:
    """B, (M, M)."""
    taken = binary_matrix(data.train)[:, items_M]
    gram_MM = np.asfortranarray((taken.T @ taken).toarray(), dtype=np.float32)
    gram_MM[np.diag_indices_from(gram_MM)] += np.float32(l2)
    factor_MM, failed = lapack.spotrf(gram_MM, lower=True, overwrite_a=True)
    if failed:
        raise ValueError(f"EASE: the Gram matrix is not positive definite at l2={l2:g}")
    inverse_MM, _ = lapack.spotri(factor_MM, lower=True, overwrite_c=True)
    _mirror(inverse_MM)
    inverse_MM /= -np.diag(inverse_MM).copy()[None, :]
    np.fill_diagonal(inverse_MM, 0.0)
    return np.ascontiguousarray(inverse_MM)


def _mirror(lower_MM: NDArray[np.float32]) -> None:
    """Copy the lower triangle, all that LAPACK fills, to the upper one, in place."""
    for start in range(0, len(lower_MM), _BLOCK_ROWS):
        stop = start + _BLOCK_ROWS
        block = lower_MM[start:stop, start:stop]
        block[:] = np.tril(block) + np.tril(block, -1).T
        lower_MM[start:stop, stop:] = lower_MM[stop:, start:stop].T
