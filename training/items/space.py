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


def score_metric(space: Space) -> NDArray[np.float64]:
    """A root of the Gram matrix: errors of vectors times it are errors of scores, (D, D)."""
    ridge = 1e-6 * float(np.trace(space.gram_DD)) + 1e-12
    root_DD = np.linalg.cholesky(space.gram_DD + ridge * np.eye(space.dims))
    return np.asarray(root_DD, dtype=np.float64)


def unscored(root_DD: NDArray[np.float64], scored_RD: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors back from the metric of scores, (R, D)."""
    return np.asarray(np.linalg.solve(root_DD.T, scored_RD.T).T, dtype=np.float64)


def common_basis(
    gram_DD: NDArray[np.float64], residual_WD: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bases for users and items in which the residuals' precision is I and the Gram diagonal.

    Returns:
        Maps of users and of items, (D, D) each, with users . items unchanged; the Gram's
        diagonal, (D,).
    """
    dims = len(gram_DD)
    covariance_DD = residual_WD.T @ residual_WD / max(len(residual_WD), 1)
    covariance_DD += 1e-3 * np.trace(covariance_DD) / dims * np.eye(dims)
    root_DD = np.linalg.cholesky(np.linalg.inv(covariance_DD))
    inverse_DD = np.linalg.inv(root_DD)
    gram_D, turn_DD = np.linalg.eigh(inverse_DD @ gram_DD @ inverse_DD.T)
    return turn_DD.T @ inverse_DD, turn_DD.T @ root_DD.T, np.maximum(gram_D, 0.0)
