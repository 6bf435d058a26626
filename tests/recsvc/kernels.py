"""Item-item kernels for the tests' worlds, and the pooled score written from its formula alone.

Shape legend: N items, M trained items, S support rows, E edges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.manifest import KernelSpec, PoolingSpec
from recsvc.contract.pooling import Edges


@dataclass(frozen=True)
class WorldKernel:
    """A kernel of any strengths."""

    strength_MM: NDArray[np.float32]
    """What each trained item says about each; 0: no edge."""
    pooling: PoolingSpec

    @property
    def n_trained(self) -> int:
        return len(self.strength_MM)

    @property
    def edges(self) -> Edges:
        source_E, item_E = np.nonzero(self.strength_MM)
        indptr_M1 = np.searchsorted(source_E, np.arange(self.n_trained + 1))
        strength_E = self.strength_MM[source_E, item_E]
        return Edges(indptr_M1.astype(np.int64), item_E.astype(np.int32), strength_E)

    def write(self, directory: Path) -> KernelSpec:
        """Write the kernel's files into a bundle."""
        edges = self.edges
        np.save(directory / "edges_indptr.npy", edges.indptr_M1)
        np.save(directory / "edges_item.npy", edges.item_E)
        np.save(directory / "edges_strength.npy", edges.strength_E)
        np.savez(directory / "kernel.npz", allow_pickle=False, counts=edges.item_E)
        return KernelSpec(edges=len(edges.item_E), pooling=self.pooling)

    def served(
        self, scores_N: NDArray[Any], support: Sequence[int], weight_S: Sequence[float]
    ) -> list[float]:
        """The pooled scores in plain Python, one item after another."""
        return served_by_hand(scores_N, support, weight_S, self.strength_MM, self.pooling)


def served_by_hand(
    scores_N: NDArray[Any],
    support: Sequence[int],
    weight_S: Sequence[float],
    strength_MM: NDArray[np.float32],
    pooling: PoolingSpec,
) -> list[float]:
    """score_i = z_i + beta[n] log(1 + A_i exp(-theta (z_i - L) - alpha[n])), term by term."""
    z = [float(score) for score in scores_N]
    positive = [s for s in range(len(support)) if weight_S[s] > 0]
    n = min(len(positive), len(pooling.beta) - 1)
    largest = max(z[: len(strength_MM)])
    total = largest + math.log(sum(math.exp(v - largest) for v in z[: len(strength_MM)]))
    served = list(z)
    for i in range(len(strength_MM)):
        mass = 0.0
        for later, s in enumerate(reversed(positive)):
            if support[s] < len(strength_MM):
                rank = pooling.rank[min(later, len(pooling.rank) - 1)]
                mass += weight_S[s] * rank * float(strength_MM[support[s], i])
        exponent = -pooling.theta * (z[i] - total) - pooling.alpha[n]
        odds = mass * math.exp(min(max(exponent, -30.0), 30.0))
        served[i] += pooling.beta[n] * math.log1p(odds) if positive else 0.0
    return served


def colour_kernel(per_colour: int, n_trained: int) -> WorldKernel:
    """A kernel that agrees with the checkerboard: an item speaks for all of its colour.

    Args:
        per_colour: items of one colour; the first so many are black.
        n_trained: items beyond have no edges.
    """
    colour_M = np.arange(n_trained) // per_colour
    strength_MM = (colour_M[:, None] == colour_M).astype(np.float32)
    sizes = range(21)
    pooling = PoolingSpec(
        rank=(1.0, 0.9, 0.8),
        alpha=tuple(2.0 - 0.02 * n for n in sizes),
        beta=tuple(0.5 if n else 0.0 for n in sizes),
        theta=0.5,
    )
    return WorldKernel(strength_MM, pooling)


def random_kernel(n_trained: int, seed: int, theta: float = 0.6) -> WorldKernel:
    """Half of all pairs have an edge, some strong, some weak, some of strength 0."""
    rng = np.random.default_rng(seed)
    strength_MM = np.exp(rng.normal(size=(n_trained, n_trained)) * 1.5).astype(np.float32)
    strength_MM[rng.random(strength_MM.shape) < 0.5] = 0.0
    np.fill_diagonal(strength_MM, 0.0)
    pooling = PoolingSpec(
        rank=(1.0, 0.7, 0.5),
        alpha=tuple(rng.normal(size=21) * 0.5),
        beta=tuple(rng.uniform(0.2, 1.2, size=21)),
        theta=theta,
    )
    return WorldKernel(strength_MM, pooling)
