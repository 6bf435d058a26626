"""The item-item edges of a bundle, checked before any support walks along them.

Knows nothing of how they were made or of what they add to a score.

Shape legend: M trained items, E edges.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsvc.bundle.arrays import blocks, read_array
from recsvc.contract.errors import BundleRefusedError
from recsvc.contract.pooling import Edges

INDPTR_FILE = "edges_indptr.npy"
ITEM_FILE = "edges_item.npy"
STRENGTH_FILE = "edges_strength.npy"
KERNEL_FILE = "kernel.npz"
"""What made the edges; not read here."""
EDGE_FILES = (INDPTR_FILE, ITEM_FILE, STRENGTH_FILE, KERNEL_FILE)

_BLOCK_EDGES = 1_048_576


def read_edges(directory: Path, n_trained: int, n_edges: int) -> Edges:
    """Map the edges and check that every walk along them stays inside.

    Args:
        directory: of the bundle.
        n_trained: M.
        n_edges: E, as the manifest says.

    Raises:
        BundleRefusedError: an array is not what the bundle says; the message names the file.
    """
    indptr_M1 = read_array(directory / INDPTR_FILE, (n_trained + 1,), np.int64)
    item_E = read_array(directory / ITEM_FILE, (n_edges,), np.int32)
    strength_E = read_array(directory / STRENGTH_FILE, (n_edges,), np.float32)
    _check_indptr(directory / INDPTR_FILE, indptr_M1, n_edges)
    _check_items(directory / ITEM_FILE, item_E, indptr_M1)
    if any((block < 0).any() for block in blocks(strength_E)):
        raise BundleRefusedError(
            f"{directory / STRENGTH_FILE} holds a negative strength; they are exponentials, at "
            "least 0; train it again"
        )
    return Edges(indptr_M1, item_E, strength_E)


def _check_indptr(path: Path, indptr_M1: NDArray[np.int64], n_edges: int) -> None:
    if indptr_M1[0] != 0 or indptr_M1[-1] != n_edges or (np.diff(indptr_M1) < 0).any():
        raise BundleRefusedError(
            f"{path} runs from {indptr_M1[0]} to {indptr_M1[-1]}; it must rise from 0 to the "
            f"{n_edges} edges without a step back; export it again"
        )


def _check_items(path: Path, item_E: NDArray[np.int32], indptr_M1: NDArray[np.int64]) -> None:
    """Rows of trained items, ascending for every source: so each pair has one edge at most."""
    n_trained = len(indptr_M1) - 1
    for start in range(0, len(item_E), _BLOCK_EDGES):
        block = item_E[start : start + _BLOCK_EDGES + 1]
        if block.min() < 0 or block.max() >= n_trained:
            raise BundleRefusedError(
                f"{path} names rows {block.min()} to {block.max()}; there are trained items in "
                f"rows 0 to {n_trained - 1} alone; export it again"
            )
        falls = start + 1 + np.flatnonzero(block[1:] <= block[:-1])
        if (indptr_M1[np.searchsorted(indptr_M1, falls)] != falls).any():
            raise BundleRefusedError(
                f"{path}: the edges of an item are not in ascending order, or one comes twice; "
                "export it again"
            )
