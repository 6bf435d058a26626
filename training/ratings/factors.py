"""Latent factors of items from the ratings of many users, by alternating least squares.

Knows nothing of tasks. Two ways: plain alternation (`als`), and expectation maximisation of the
model that says a user's vector is standard normal (`em`), which also keeps how uncertain each
user's vector is and so learns by itself how far a few ratings can be trusted.

Shape legend: E ratings, U training users, N items, D dims.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.ratings.tasks import RatingData


@dataclass(frozen=True, slots=True)
class Factors:
    """Item vectors, and what they say of the training users."""

    item_ND: NDArray[np.float64]
    """0 for an item without ratings."""
    user_UD: NDArray[np.float64]
    """The vectors of `users_U`."""
    users_U: NDArray[np.int64]
    """Codes of the users with training ratings, ascending."""
    noise: float
    """Variance of what the factors leave."""


def em(
    data: RatingData,
    residual_E: NDArray[np.float64],
    dims: int,
    strength: float,
    *,
    sweeps: int = 15,
    seed: int = 0,
) -> Factors:
    """Factors with user vectors ~ N(0, I) and independent noise, by expectation maximisation.

    Args:
        data: training ratings.
        residual_E: what is left of them after levels.
        dims: D.
        strength: precision of the prior of item vectors, in units of the noise's.
        sweeps: passes.
        seed: of the start.

    Source: Tipping and Bishop (1999), probabilistic principal components; Lim and Teh (2007) for
    missing entries. Item vectors are points here, with a Gaussian prior.
    """
    return _Alternation(data, residual_E, dims, seed).run(strength, sweeps, posterior=True)


def als(
    data: RatingData,
    residual_E: NDArray[np.float64],
    dims: int,
    strength: float,
    *,
    sweeps: int = 15,
    seed: int = 0,
) -> Factors:
    """Factors by alternating ridge regressions, the same strength on both sides.

    Source: Zhou et al. (2008), without the weighting by counts.
    """
    return _Alternation(data, residual_E, dims, seed).run(strength, sweeps, posterior=False)


class _Alternation:
    """One run: the ratings sorted by user, and the vectors so far."""

    def __init__(
        self, data: RatingData, residual_E: NDArray[np.float64], dims: int, seed: int
    ) -> None:
        t = data.ratings
        order = np.argsort(t.user_E, kind="stable")
        self._users_U, start = np.unique(t.user_E[order], return_index=True)
        self._bounds_U1 = np.append(start, len(order))
        self._item_E, self._left_E = t.item_E[order], residual_E[order]
        self._row_E = np.repeat(np.arange(len(self._users_U)), np.diff(self._bounds_U1))
        shape = (data.n_items, len(self._users_U))
        self._rated = csr_matrix((np.ones(len(order)), (self._item_E, self._row_E)), shape)
        self._left = csr_matrix((self._left_E, (self._item_E, self._row_E)), shape)
        self._upper = np.triu_indices(dims)
        self._eye_DD = np.eye(dims)
        rng = np.random.default_rng(seed)
        warm_N = np.bincount(t.item_E, minlength=data.n_items) > 0
        self._item_ND = 0.1 * rng.standard_normal((data.n_items, dims)) * warm_N[:, None]

    def run(self, strength: float, sweeps: int, *, posterior: bool) -> Factors:
        noise = float(np.mean(np.square(self._left_E)))
        for _ in range(sweeps):
            user_UD, spread_UDD = self._user_step(noise if posterior else 1.0, strength, posterior)
            noise = self._item_step(user_UD, spread_UDD, strength)
        return Factors(self._item_ND, user_UD, self._users_U, noise)

    def _user_step(
        self, noise: float, strength: float, posterior: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and covariances of the users' vectors; no covariance in plain alternation."""
        users, dims = len(self._users_U), len(self._eye_DD)
        normal_UDD, right_UD = np.empty((users, dims, dims)), np.empty((users, dims))
        bounds = self._bounds_U1.tolist()
        for u in range(users):
            own = slice(bounds[u], bounds[u + 1])
            vectors = self._item_ND[self._item_E[own]]
            normal_UDD[u] = vectors.T @ vectors
            right_UD[u] = self._left_E[own] @ vectors
        if not posterior:
            normal_UDD += strength * self._eye_DD
            return _solve(normal_UDD, right_UD), np.zeros_like(normal_UDD)
        spread_UDD = np.linalg.inv(normal_UDD / noise + self._eye_DD).astype(np.float64, copy=False)
        return np.einsum("uij,uj->ui", spread_UDD, right_UD / noise), spread_UDD

    def _item_step(
        self, user_UD: NDArray[np.float64], spread_UDD: NDArray[np.float64], strength: float
    ) -> float:
        """New item vectors; returns the variance of what they leave."""
        second_UDD = spread_UDD + user_UD[:, :, None] * user_UD[:, None, :]
        packed = self._rated @ second_UDD[:, *self._upper]
        normal_NDD = np.empty((len(self._item_ND), *self._eye_DD.shape))
        normal_NDD[:, *self._upper] = packed
        normal_NDD[:, self._upper[1], self._upper[0]] = packed
        right_ND = self._left @ user_UD
        v = self._item_ND = _solve(normal_NDD + strength * self._eye_DD, right_ND)
        # Expected squared error: sum of r^2 - 2 r E[u].v + v' E[u u'] v.
        total = np.square(self._left_E).sum() - 2.0 * np.sum(right_ND * v)
        total += np.einsum("nij,ni,nj->", normal_NDD, v, v)
        return float(total) / len(self._left_E)


def _solve(normal_XDD: NDArray[np.float64], right_XD: NDArray[np.float64]) -> NDArray[np.float64]:
    solved_XD1 = np.linalg.solve(normal_XDD, right_XD[:, :, None])
    return solved_XD1[:, :, 0].astype(np.float64, copy=False)
