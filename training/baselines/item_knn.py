"""ItemKNN: shrunk cosine between items, summed over the support.

Knows nothing of tuning or priors.

Shape legend: B users of a block, S support rows, N items, E edges.

Source: Deshpande and Karypis (2004); Ferrari Dacrema et al. (2019) for the shrinkage.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, vstack

from training.baselines.blend import FoldIn
from training.baselines.interactions import binary_matrix, support_matrix
from training.methods import ColdUserData

_BLOCK_ITEMS = 1_024
_MAX_EDGES = 4_000
_MAX_CELLS = 100_000_000


class ItemKNN:
    """sim(s, i) = co-count / ((count_s · count_i)^a + h), over the k nearest i of each s.

    A user's contribution to a co-count is (their number of items)^-q.
    """

    name = "item-knn"
    axes: Mapping[str, Sequence[float]] = {
        "shrinkage": (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
        "count_power": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        "user_power": (0.0, 0.5, 1.0),
        "neighbours": (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0),
    }
    starts: Sequence[Mapping[str, float]] = (
        {"shrinkage": 30.0, "count_power": 0.6, "user_power": 0.0, "neighbours": 1000.0},
        {"shrinkage": 3.0, "count_power": 0.4, "user_power": 0.5, "neighbours": 500.0},
    )

    def __init__(self) -> None:
        self._counted: dict[float, csr_matrix] = {}

    def fit(self, data: ColdUserData, settings: Mapping[str, float]) -> FoldIn:
        power = settings["user_power"]
        if power not in self._counted:
            self._counted[power] = _co_counts(data, power)
        edges = _similarities(self._counted[power], data.train.counts(), settings)

        def fold_in(support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
            scores_BN: NDArray[np.float32] = (
                support_matrix(support_BS, data.n_items) @ edges
            ).toarray()
            return scores_BN

        return fold_in


def _co_counts(data: ColdUserData, user_power: float) -> csr_matrix:
    """Weighted co-counts without the diagonal, (N, N); the best by cosine where there are many."""
    seen = binary_matrix(data.train)
    weights_U = np.maximum(data.train.lengths_U, 1).astype(np.float32) ** np.float32(-user_power)
    weighted = csr_matrix(diags(weights_U) @ seen)
    by_item = csr_matrix(seen.T)
    counts_N = np.maximum(data.train.counts(), 1).astype(np.float32)
    most = int(np.clip(_MAX_CELLS // max(data.n_items, 1), 50, _MAX_EDGES))
    blocks = []
    for start in range(0, data.n_items, _BLOCK_ITEMS):
        block = csr_matrix(by_item[start : start + _BLOCK_ITEMS] @ weighted)
        row_E = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        cosine_E = block.data / np.sqrt(counts_N[row_E + start] * counts_N[block.indices])
        cosine_E[row_E + start == block.indices] = -np.inf
        blocks.append(_best_of_row(block, cosine_E, most))
    return csr_matrix(vstack(blocks, format="csr"))


def _similarities(
    counted: csr_matrix, counts_N: NDArray[np.integer], settings: Mapping[str, float]
) -> csr_matrix:
    """Shrunk cosines, the k largest of each row."""
    row_E = np.repeat(np.arange(counted.shape[0]), np.diff(counted.indptr))
    scale_N = np.maximum(counts_N, 1).astype(np.float32) ** np.float32(settings["count_power"])
    norm_E = scale_N[row_E] * scale_N[counted.indices] + np.float32(settings["shrinkage"])
    similar_E = counted.data / norm_E
    edges = csr_matrix((similar_E, counted.indices, counted.indptr), shape=counted.shape)
    return _best_of_row(edges, similar_E, int(settings["neighbours"]))


def _best_of_row(matrix: csr_matrix, key_E: NDArray[np.floating], k: int) -> csr_matrix:
    """The entries of each row with the k largest finite keys, all that tie for the last place."""
    lengths = np.diff(matrix.indptr)
    least_row = np.full(len(lengths), np.finfo(np.float32).min, dtype=np.float32)
    for row in np.flatnonzero(lengths > k):
        keys = key_E[matrix.indptr[row] : matrix.indptr[row + 1]]
        least_row[row] = np.partition(keys, -k)[-k]
    kept_E = key_E >= np.repeat(least_row, lengths)
    rows = np.repeat(np.arange(len(lengths)), lengths)[kept_E]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(lengths)))])
    return csr_matrix((matrix.data[kept_E], matrix.indices[kept_E], indptr), shape=matrix.shape)
