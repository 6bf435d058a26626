"""Interaction matrices of training users, and supports as sparse rows.

Knows nothing of any model.

Shape legend: U users, B users of a block, S support rows, N items.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.tasks import PADDING, Histories


def binary_matrix(histories: Histories) -> csr_matrix:
    """(U, N) float32, 1 where the user has the item."""
    ones = np.ones(len(histories.item_E), dtype=np.float32)
    shape = (histories.n_users, histories.n_items)
    # Copied: sorting in place would destroy the time order of the histories.
    matrix = csr_matrix((ones, histories.item_E, histories.indptr_U1), shape=shape, copy=True)
    matrix.sort_indices()
    return matrix


def support_matrix(support_BS: NDArray[np.int32], n_items: int) -> csr_matrix:
    """(B, N) float32, 1 where the item is in the support; padding is left out."""
    rows, columns = np.nonzero(support_BS != PADDING)
    ones = np.ones(len(rows), dtype=np.float32)
    shape = (len(support_BS), n_items)
    return csr_matrix((ones, (rows, support_BS[rows, columns])), shape=shape)


def split_at(histories: Histories, window: int) -> tuple[csr_matrix, csr_matrix]:
    """The items within the window and those after it, as two (U, N) binary matrices."""
    lengths_U = histories.lengths_U
    early = histories.prefix(np.zeros_like(lengths_U), np.full_like(lengths_U, window))
    late = histories.prefix(np.full_like(lengths_U, window), lengths_U)
    return binary_matrix(early), binary_matrix(late)
