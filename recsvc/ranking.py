"""Ranking of candidates: diversity and exploration.

Pure functions of arrays. Knows nothing of HTTP, of Redis or of how the candidates were found.

Shape legend: C candidates, D dims.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

EXPLORATION_TEMPERATURE = 0.5
"""Breadth of exploration for a user of whom nothing is known; see `explore`."""

_TINY = 1e-12


def explore(scores_C: Floats, support_size: int, seed: int) -> Floats:
    """Perturb scores so that the order becomes a sample instead of the best guess.

    Adds Gumbel noise of temperature T: the resulting order is a draw without replacement from
    softmax(scores / T) (Plackett-Luce). T = 0.5 / sqrt(1 + support_size), so the list explores
    widely for a user of whom nothing is known and hardly for one who is known well.

    Args:
        scores_C: best first, so that a seed means the same on every replica.
        support_size: support rows that the scores rest on.
        seed: the same seed, scores and size give the same order.

    Source: Kool et al., 2019, "Stochastic Beams and Where to Find Them", section 2.3.
    """
    temperature = EXPLORATION_TEMPERATURE / np.sqrt(1.0 + support_size)
    noise_C = np.random.default_rng(seed).gumbel(size=len(scores_C))
    perturbed: Floats = (scores_C + temperature * noise_C).astype(np.float32)
    return perturbed


def diversify(scores_C: Floats, vectors_CD: Floats, k: int, diversity: float) -> Rows:
    """Choose k candidates by maximal marginal relevance.

    Each pick maximises (1 - diversity) * relevance - diversity * similarity, where relevance is the
    score scaled to 0..1 over the candidates and similarity is the largest cosine to a pick so far.

    Args:
        scores_C: of the candidates.
        vectors_CD: their item vectors.
        k: how many to pick.
        diversity: 0 keeps the order of the scores, 1 looks at similarity alone.

    Returns:
        Positions of the picks, in the order picked; ties go to the earlier candidate.

    Source: Carbonell and Goldstein, 1998, "The use of MMR", equation 1.
    """
    span = float(np.ptp(scores_C)) if len(scores_C) else 0.0
    relevance_C = (scores_C - scores_C.min(initial=np.inf)) / max(span, _TINY)
    units_CD = unit_rows(vectors_CD)
    nearest_C = np.full(len(scores_C), np.float32(-1.0))  # no pick yet: all equal
    open_C = np.ones(len(scores_C), dtype=bool)
    picks: list[int] = []
    for _ in range(min(k, len(scores_C))):
        worth_C = (1.0 - diversity) * relevance_C - diversity * nearest_C
        pick = int(np.argmax(np.where(open_C, worth_C, -np.inf)))
        np.maximum(nearest_C, units_CD @ units_CD[pick], out=nearest_C)
        open_C[pick] = False
        picks.append(pick)
    return np.asarray(picks, dtype=np.int64)


def unit_rows(vectors_CD: Floats) -> Floats:
    """Rows scaled to length 1; a zero row stays zero."""
    norms_C1 = np.linalg.norm(vectors_CD, axis=1, keepdims=True)
    units_CD: Floats = (vectors_CD / np.maximum(norms_C1, _TINY)).astype(np.float32)
    return units_CD
