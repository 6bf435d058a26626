"""PureSVD: a user as the projection of their items on the top singular vectors.

Knows nothing of tuning or priors.

Shape legend: B users of a block, N items, D dims.

Source: Cremonesi, Koren and Turrin (2010); the scaling of items by a power of their popularity
after Nikolakopoulos et al., EigenRec (2019).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from sklearn.utils.extmath import randomized_svd

from training.baselines.blend import FoldIn
from training.baselines.interactions import binary_matrix, support_matrix
from training.methods import ColdUserData

_LEAST_COMPUTED = 32


class PureSVD:
    """Top right singular vectors V of X · diag(count^-p); scores s · diag(count^-p) · V Vᵀ."""

    name = "pure-svd"
    axes: Mapping[str, Sequence[float]] = {
        "popularity_power": (0.0, 0.25, 0.375, 0.5, 0.625, 0.75),
        "dims": (4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 512.0),
    }
    """Dims beyond the rank of the matrix are cut to it."""
    starts: Sequence[Mapping[str, float]] = (
        {"popularity_power": 0.5, "dims": 8.0},
        {"popularity_power": 0.25, "dims": 192.0},
    )

    def __init__(self) -> None:
        self._vectors_DN: dict[float, NDArray[np.float32]] = {}

    def fit(self, data: ColdUserData, settings: Mapping[str, float]) -> FoldIn:
        dims, power = int(settings["dims"]), settings["popularity_power"]
        counts_N = np.maximum(data.train.counts(), 1).astype(np.float32)
        scale_N = counts_N ** np.float32(-power)
        vectors_DN = self._vectors(data, scale_N, power, dims)[:dims]
        inward_ND = (vectors_DN * scale_N).T.copy()

        def fold_in(support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
            scores_BN: NDArray[np.float32] = (
                support_matrix(support_BS, data.n_items) @ inward_ND
            ) @ vectors_DN
            return scores_BN

        return fold_in

    def _vectors(
        self, data: ColdUserData, scale_N: NDArray[np.float32], power: float, dims: int
    ) -> NDArray[np.float32]:
        """At least `dims` singular vectors at one power, kept for the next call."""
        known = self._vectors_DN.get(power)
        if known is None or len(known) < dims:
            scaled = csr_matrix(binary_matrix(data.train) @ diags(scale_N))
            wanted = min(max(dims, _LEAST_COMPUTED), *scaled.shape)
            _, _, known = randomized_svd(scaled, wanted, n_iter=6, random_state=data.seed)
            self._vectors_DN[power] = known.astype(np.float32)
        return self._vectors_DN[power]
