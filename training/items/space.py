"""The space that users and items share: vectors of warm users and warm items.

Knows nothing of cold items. Users' vectors come from warm interactions alone.

Shape legend: U users, N items, D dims.

Source: Hu, Koren and Volinsky (2008), with the `implicit` library.
"""

from dataclasses import dataclass

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from training.baselines.interactions import binary_matrix
from training.tasks import Histories

ALPHA = 8.0
"""Weight of an interaction beside an unseen pair."""
_ITERATIONS = 12


@dataclass(frozen=True)
class Space:
    """Score of a warm pair: `users_UD[u] . items_ND[i]`, about 1 where they met, 0 where not."""

    users_UD: NDArray[np.float32]
    items_ND: NDArray[np.float32]
    """Zero for items that are not warm."""
    gram_DD: NDArray[np.float64]
    """Sum of u u' over all users: what it costs an item to be ignored by everybody."""

    @property
    def dims(self) -> int:
        return int(self.users_UD.shape[1])


def fit_space(train: Histories, dims: int, l2: float, seed: int) -> Space:
    """Alternating least squares on the training interactions.

    Args:
        train: warm interactions of all users.
        dims: D.
        l2: ridge strength.
        seed: of the starting vectors.
    """
    # `implicit` warns of nested threads unless BLAS runs on one.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=dims,
            regularization=l2,
            alpha=ALPHA,
            iterations=_ITERATIONS,
            num_threads=1,
            random_state=seed,
            dtype=np.float32,
        )
        model.fit(binary_matrix(train), show_progress=False)
    items_ND = np.asarray(model.item_factors, dtype=np.float32).copy()
    items_ND[train.counts() == 0] = 0.0
    users_UD = np.asarray(model.user_factors, dtype=np.float32).copy()
    users_UD[train.lengths_U == 0] = 0.0
    wide_UD = users_UD.astype(np.float64)
    return Space(users_UD, items_ND, wide_UD.T @ wide_UD)
