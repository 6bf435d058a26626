"""iALS: item vectors by alternating least squares, users folded in by the same least squares.

Knows nothing of tuning or priors. The item vectors come from the `implicit` library.

Shape legend: B users of a block, S support rows, N items, D dims.

Source: Hu, Koren and Volinsky (2008); Rendle et al. (2022), on how much tuning it needs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from training.baselines.blend import FoldIn
from training.baselines.interactions import binary_matrix
from training.methods import ColdUserData
from training.tasks import PADDING

_ITERATIONS = 15


class IALS:
    """Squared loss over all items, a seen one weighing `alpha` times as much as an unseen one.

    In the terms of Rendle et al., with weight a0 of an unseen item and ridge reg: alpha = 1 / a0
    and l2 = reg / a0. What sparse data asks for, a0 = .03 and reg = .003 at 256 dims, is the
    second start.
    """

    name = "ials"
    axes: Mapping[str, Sequence[float]] = {
        "dims": (8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
        "l2": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
        "alpha": (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0),
    }
    starts: Sequence[Mapping[str, float]] = (
        {"dims": 8.0, "l2": 30.0, "alpha": 8.0},
        {"dims": 256.0, "l2": 0.1, "alpha": 32.0},
    )

    def fit(self, data: ColdUserData, settings: Mapping[str, float]) -> FoldIn:
        # `implicit` warns of nested threads unless BLAS runs on one.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=int(settings["dims"]),
                regularization=settings["l2"],
                alpha=settings["alpha"],
                iterations=_ITERATIONS,
                num_threads=1,
                random_state=data.seed,
                dtype=np.float32,
            )
            model.fit(binary_matrix(data.train), show_progress=False)
        vectors_ND = np.asarray(model.item_factors, dtype=np.float32)
        gram_DD = vectors_ND.T.astype(np.float64) @ vectors_ND
        gram_DD[np.diag_indices_from(gram_DD)] += settings["l2"]
        inverse_DD = np.linalg.inv(gram_DD).astype(np.float32)

        def fold_in(support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
            users_BD = folded_users(support_BS, vectors_ND, inverse_DD, settings["alpha"])
            scores_BN: NDArray[np.float32] = users_BD @ vectors_ND.T
            return scores_BN

        return fold_in


def folded_users(
    support_BS: NDArray[np.int32],
    vectors_ND: NDArray[np.float32],
    inverse_DD: NDArray[np.float32],
    alpha: float,
) -> NDArray[np.float32]:
    """Exact least-squares user vectors, (B, D).

    With A = (VᵀV + λI)⁻¹ and Y the support's vectors, the solution α (A⁻¹ + (α-1) YᵀY)⁻¹ Yᵀ1 is
    α A Yᵀ (I + (α-1) Y A Yᵀ)⁻¹ 1 (Woodbury), which solves S x S systems instead of D x D ones.

    Args:
        support_BS: item codes, -1 as padding.
        vectors_ND: V.
        inverse_DD: A.
        alpha: weight of a seen item, at least 1.
    """
    known_BS1 = (support_BS != PADDING).astype(np.float32)[:, :, None]
    rows_BSD = vectors_ND[np.maximum(support_BS, 0)] * known_BS1
    projected_BSD = rows_BSD @ inverse_DD
    small_BSS = np.float32(alpha - 1.0) * (projected_BSD @ rows_BSD.transpose(0, 2, 1))
    small_BSS += np.eye(support_BS.shape[1], dtype=np.float32)
    pull_BS1 = np.linalg.solve(small_BSS, known_BS1)
    folded_BD: NDArray[np.float32] = np.float32(alpha) * np.einsum(
        "bsd,bs->bd", projected_BSD, pull_BS1[:, :, 0]
    )
    return folded_BD
