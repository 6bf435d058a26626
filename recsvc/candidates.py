"""Candidate generation: an exact scan of the whole catalogue and a deterministic top k.

Pure functions of arrays. Knows nothing of where the items came from.

Shape legend: N items, K vectors, D dims.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

_BLOCK_ROWS = 16_384
"""Items that several vectors are scored against at once."""


def scan(vector_D: Floats, blocks: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Score every item: vector . item vector + item bias.

    Args:
        vector_D: the user's.
        blocks: (vectors, biases) of consecutive rows of the catalogue; N rows in all.

    Returns:
        scores_N, float32.
    """
    scores_N = np.empty(sum(len(bias) for _, bias in blocks), dtype=np.float32)
    start = 0
    for vectors_BD, bias_B in blocks:
        part = scores_N[start : start + len(bias_B)]
        np.matmul(vectors_BD, vector_D, out=part)
        part += bias_B
        start += len(bias_B)
    return scores_N


def log_totals(vectors_KD: Floats, items_ND: Floats, bias_N: Floats) -> NDArray[np.float64]:
    """For each vector the logarithm of the sum of the exponentials of its scores, (K,).

    Never holds all scores of all vectors at once.
    """
    total_K = np.full(len(vectors_KD), -np.inf)
    for start in range(0, len(items_ND), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        scores_KB = vectors_KD @ items_ND[block].T
        scores_KB += bias_N[block]
        largest_K = scores_KB.max(axis=1)
        scores_KB -= largest_K[:, None]
        sum_K = np.exp(scores_KB, out=scores_KB).sum(axis=1)
        total_K = np.logaddexp(total_K, largest_K + np.log(sum_K, dtype=np.float64))
    return total_K


def cosine(vector_D: Floats, blocks: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Cosine of one vector to every item's; 0 where either is zero. Biases play no part."""
    parts = []
    for vectors_BD, _ in blocks:
        lengths_B = np.linalg.norm(vectors_BD, axis=1) * np.linalg.norm(vector_D)
        dots_B = vectors_BD @ vector_D
        parts.append(np.divide(dots_B, lengths_B, out=np.zeros_like(dots_B), where=lengths_B > 0))
    cosines_N: Floats = np.concatenate(parts)
    return cosines_N


def top_k(scores_N: Floats, allowed_N: Mask, k: int, ids: Sequence[str]) -> Rows:
    """The k best allowed rows, best first; equal scores in ascending order of their ids.

    Args:
        scores_N: higher is better.
        allowed_N: rows that may be returned.
        k: at least 0.
        ids: of the rows.

    Returns:
        At most k rows; fewer where fewer are allowed.
    """
    rows = np.flatnonzero(allowed_N)
    if not len(rows) or k <= 0:
        return rows[:0]
    if len(rows) > k:
        scores = scores_N[rows]
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = rows[scores >= threshold]
    if len(rows) > k:  # some are equal to the last one
        scores = scores_N[rows]
        above, tied = rows[scores > threshold], rows[scores == threshold]
        missing = k - len(above)
        tied = np.asarray(heapq.nsmallest(missing, tied.tolist(), key=ids.__getitem__))
        rows = np.concatenate([above, tied])
    scored = zip((-scores_N[rows]).tolist(), rows.tolist(), strict=True)
    ordered = sorted((score, ids[row], row) for score, row in scored)
    return np.asarray([row for _, _, row in ordered], dtype=np.int64)
