"""DemoPop: late popularity for a user's features, by ridge regression.

Knows nothing of the support. Also a prior that fold-in methods are blended with.

Shape legend: U users, B users of a block, N items, G feature positions kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.baselines.interactions import split_at
from training.baselines.popularity import late_rates, log_rate
from training.methods import ColdUserData, measure, validation_users

_MAX_POSITIONS = 2_000
_MAX_CELLS = 200_000_000
_TUNING_USERS = 1_000


class DemoPop:
    """Late popularity plus its deviations by user feature.

    Two ridge regressions on centred features, of what users take within the window and after it;
    the score is the log of the late rate over the share that has not taken the item early. The
    ridge strength is chosen on validation users. Without user features it is late popularity.
    """

    name = "demo-pop"
    strengths = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)

    def fit(self, data: ColdUserData) -> None:
        ridge = _Ridge.fit(data)
        users = validation_users(data, limit=_TUNING_USERS)
        best = -1.0
        for strength in self.strengths:
            model = ridge.solve(strength)
            figures = measure(self.name, model.score, users, data.candidates_N, 0, ("masked",))
            figure = float(figures[0, :, 0].mean()) if users.n_users else 0.0
            if figure > best:
                best, self._strength, self._model = figure, strength, model

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        return self._model.score(support_BS, features, n)

    def settings(self) -> dict[str, Any]:
        return {"ridge": self._strength, "feature_positions": len(self._model.kept_G)}


@dataclass(frozen=True)
class _Rates:
    """Linear maps from features to early and late rates."""

    kept_G: NDArray[np.intp]
    mean_G: NDArray[np.float64]
    early_N: NDArray[np.float64]
    late_N: NDArray[np.float64]
    early_GN: NDArray[np.float32]
    late_GN: NDArray[np.float32]

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        centred_BG = (features[:, self.kept_G].toarray() - self.mean_G).astype(np.float32)
        late_BN = self.late_N + centred_BG @ self.late_GN
        early_BN = self.early_N + centred_BG @ self.early_GN
        return log_rate(late_BN, 1.0 - early_BN)


@dataclass(frozen=True)
class _Ridge:
    """Both regressions in the eigenbasis of the features: V (Λ + λ)⁻¹ Vᵀ Xᵀ Y for any λ."""

    kept_G: NDArray[np.intp]
    mean_G: NDArray[np.float64]
    early_N: NDArray[np.float64]
    late_N: NDArray[np.float64]
    values_G: NDArray[np.float64]
    vectors_GG: NDArray[np.float64]
    early_GN: NDArray[np.float64]
    late_GN: NDArray[np.float64]

    @classmethod
    def fit(cls, data: ColdUserData) -> "_Ridge":
        """Accumulate from the training users that go beyond the window."""
        beyond = np.flatnonzero(data.train.lengths_U > data.window)
        features = data.train_features[beyond]
        kept_G = _frequent_positions(features, data.n_items)
        dense_UG = features[:, kept_G].toarray().astype(np.float64)
        mean_G = dense_UG.sum(axis=0) / max(len(beyond), 1)
        centred_UG = dense_UG - mean_G
        values_G, vectors_GG = np.linalg.eigh(centred_UG.T @ centred_UG)
        rotated_UG = centred_UG @ vectors_GG
        early, late = split_at(data.train.take(beyond), data.window)
        return cls(
            kept_G,
            mean_G,
            *late_rates(data.train, data.window),
            values_G,
            vectors_GG,
            (early.T @ rotated_UG).T,
            (late.T @ rotated_UG).T,
        )

    def solve(self, strength: float) -> _Rates:
        shrunk_GG = self.vectors_GG / (np.maximum(self.values_G, 0.0) + strength)
        early_GN = (shrunk_GG @ self.early_GN).astype(np.float32)
        late_GN = (shrunk_GG @ self.late_GN).astype(np.float32)
        return _Rates(self.kept_G, self.mean_G, self.early_N, self.late_N, early_GN, late_GN)


def _frequent_positions(features: csr_matrix, n_items: int) -> NDArray[np.intp]:
    """The feature positions that most users have, as many as fit in memory, ascending."""
    limit = min(_MAX_POSITIONS, max(_MAX_CELLS // max(n_items, 1), 1))
    users_F = features.getnnz(axis=0)
    return np.sort(np.argsort(-users_F, kind="stable")[:limit])
