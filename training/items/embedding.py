"""Vectors of users and items whose products are scores, and how cold items' scores are scaled.

Knows nothing of how vectors came about.

Shape legend: U users, B users of a block, N items, D dims.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_LEAST_NORM = 0.05
"""Of a user vector, in units of the mean: below, a power of it would run away."""


FoldIn = Callable[[NDArray[np.float32], NDArray[np.int32]], NDArray[np.float32]]
"""(items_ND, support_BS of item codes) -> users_BD."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors whose products are scores, cold items' on the scale of the warm items'.

    A cold item's score is tau |u|^-q u . v, with the norm in units of the warm users' mean.
    """

    users_UD: NDArray[np.float32]
    """Of warm users; zero for others."""
    items_ND: NDArray[np.float32]
    """Cold items' adapted; zero for items that are neither cold nor warm."""
    cold_N: NDArray[np.bool_]
    scale: float = 1.0
    """tau."""
    norm_power: float = 0.0
    """q."""
    fold_in: FoldIn | None = None
    """Vectors of new users from their items; there scores are log chances, and the last of an
    item's dimensions is its bias. None: a least-squares fold-in fits."""

    @cached_property
    def mean_norm(self) -> float:
        """Mean norm of the warm users' vectors."""
        norms_U = np.linalg.norm(self.users_UD, axis=1)
        return float(norms_U[norms_U > 0].mean()) if (norms_U > 0).any() else 1.0

    def scores(self, users_BD: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, N)."""
        scores_BN: NDArray[np.float32] = users_BD @ self.items_ND.T
        if self.scale != 1.0 or self.norm_power != 0.0:
            norms_B1 = np.linalg.norm(users_BD, axis=1, keepdims=True) / self.mean_norm
            factor_B1 = self.scale * np.maximum(norms_B1, _LEAST_NORM) ** -self.norm_power
            scores_BN[:, self.cold_N] *= factor_B1.astype(np.float32)
        return scores_BN

    def times(self, factor: float) -> "Embedding":
        """The same with cold items' scores, or where scores are log chances these, scaled."""
        if self.fold_in is None:
            return replace(self, scale=self.scale * factor)
        items_ND = self.items_ND.copy()
        items_ND[self.cold_N, -1] += np.float32(np.log(factor))
        return replace(self, items_ND=items_ND)

    def rank(self, users_B: NDArray[np.integer]) -> NDArray[np.float32]:
        """Scores for warm users by their codes; a `Ranker`."""
        return self.scores(self.users_UD[users_B])
