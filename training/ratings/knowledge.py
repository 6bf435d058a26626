"""What training users taught of items and of priors: the ingredients of a closed-form adaptation.

Knows nothing of how the ingredients are weighed.

The rating of user u for item i is level_i + sum over kernels of phi_k(i) . w_uk + noise. One kernel
is constant (the user's bias), some are latent factors, the others are content columns. A cold
item's level and factors come from its content. Side information moves the prior mean of w_u.

Shape legend: N items, D dims of a kernel, B tasks, S support rows, Q query rows, U users, M
factor models, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from training.ratings.bias import fit_biases
from training.ratings.factors import Factors, em
from training.ratings.side import (
    apply,
    by_block,
    dense_features,
    fit_content,
    ridge,
    taste_vectors,
)
from training.ratings.tasks import RatingData, RatingTasks

_ITEM_STRENGTH, _USER_STRENGTH = 5.0, 8.0
_FACTOR_STRENGTH = 5.0
_TASTE_DIMS = 16
_TASTE_SCALE = 3.0
_PRIOR_STRENGTH = 60.0
_MOST_CHOSEN = 40
_LEAST_USERS = 60
_MOST_POSITIONS = 64
_NOISE_STRENGTH = 20.0


@dataclass(frozen=True)
class Knowledge:
    """Ingredients fitted to training ratings."""

    mean: float
    level_LN: NDArray[np.float64]
    """Item biases in parts: what ratings say (for a cold item the average), then what each content
    column adds for a cold item."""
    counts_N: NDArray[np.int64]
    noise_N: NDArray[np.float64]
    """Variance of ratings around the factors, over its average; 1 for a cold item."""
    factors: tuple[NDArray[np.float64], ...]
    """(N, D) of each factor model."""
    content: tuple[NDArray[np.float64], ...]
    """(N, D) of each content column."""
    names: tuple[str, ...]
    """Of all kernels: the bias, the factors, the content columns."""
    taste_ND: NDArray[np.float64]
    features_UF: NDArray[np.float64]
    from_features: NDArray[np.float64]
    """Map from features to the stacked prior means of all factors, the user bias last."""
    from_choice: NDArray[np.float64]
    """The same from features and the taste of the support."""

    def priors(self, tasks: RatingTasks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Prior means without and with what the choice of the support says, (B, sum of D + 1)."""
        features_BF = self.features_UF[tasks.user_B]
        taste_BD = _taste(self.taste_ND, tasks.support_item_BS, tasks.given_BS)
        plain = apply(features_BF, self.from_features)
        return plain, apply(np.concatenate([features_BF, taste_BD], axis=1), self.from_choice)

    def prior_ratings(
        self, prior_BC: NDArray[np.float64], item_BX: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What a prior mean says of items beyond their level: by factors, and by bias, (B, X)."""
        by_factors_BX = np.zeros(item_BX.shape)
        start = 0
        for vector_ND in self.factors:
            stop = start + vector_ND.shape[1]
            by_factors_BX += np.einsum("bxd,bd->bx", vector_ND[item_BX], prior_BC[:, start:stop])
            start = stop
        return by_factors_BX / max(len(self.factors), 1), np.broadcast_to(
            prior_BC[:, -1:], item_BX.shape
        )


def learn(data: RatingData, dims: Sequence[int]) -> Knowledge:
    """Fit all ingredients to the training ratings.

    Args:
        data: training ratings, features and content.
        dims: of each factor model.
    """
    biases = fit_biases(data, _ITEM_STRENGTH, _USER_STRENGTH)
    left_E = biases.residual_E(data)
    models = [
        em(data, left_E, d, _FACTOR_STRENGTH, seed=data.seed * 100 + k) for k, d in enumerate(dims)
    ]
    taste_ND = _TASTE_SCALE * taste_vectors(data, _TASTE_DIMS)
    columns = [*(model.item_ND for model in models), taste_ND]
    level_LN, filled = _fill_cold(data, biases.item_N, np.concatenate(columns, axis=1))
    ends = np.cumsum([c.shape[1] for c in columns])[:-1]
    *vectors, taste_ND = np.split(filled, ends, axis=1)
    users_U = models[0].users_U
    features_UF = dense_features(data.users, users_U, _LEAST_USERS)
    target_UC = np.concatenate(
        [*(m.user_UD for m in models), biases.user_U[users_U][:, None]], axis=1
    )
    chosen_UD = _training_taste(data, taste_ND, users_U)
    known_UF = features_UF[users_U]
    return Knowledge(
        mean=biases.mean,
        level_LN=level_LN,
        counts_N=data.counts_N,
        noise_N=_noise(data, left_E, models),
        factors=tuple(vectors),
        content=tuple(narrow(m, data.counts_N > 0, data.seed) for m in data.items.matrices),
        names=("user bias", *(f"factors {d}" for d in dims), *data.items.names),
        taste_ND=taste_ND,
        features_UF=features_UF,
        from_features=ridge(known_UF, target_UC, _PRIOR_STRENGTH),
        from_choice=ridge(
            np.concatenate([known_UF, chosen_UD], axis=1), target_UC, _PRIOR_STRENGTH
        ),
    )


def _fill_cold(
    data: RatingData, bias_N: NDArray[np.float64], target_NC: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Levels in parts, and targets with the rows of cold items from their content."""
    cold = np.flatnonzero(data.counts_N == 0)
    level_LN = np.zeros((1 + len(data.items.matrices), data.n_items))
    level_LN[0] = bias_N
    filled_NC = target_NC.copy()
    if len(cold):
        regression = fit_content(data, bias_N, data.seed)
        filled_NC[cold] = regression.predict(target_NC, cold)
        level_LN[:, cold] = by_block(regression, bias_N, cold)
    return level_LN, filled_NC


def _noise(
    data: RatingData, left_E: NDArray[np.float64], models: Sequence[Factors]
) -> NDArray[np.float64]:
    """Each item's residual variance relative to the average, shrunk to 1, (N,)."""
    model, t = models[0], data.ratings
    row_E = np.searchsorted(model.users_U, t.user_E)
    said_E = np.einsum("ed,ed->e", model.item_ND[t.item_E], model.user_UD[row_E])
    error_E = np.square(left_E - said_E)
    total_N = np.bincount(t.item_E, error_E / error_E.mean(), data.n_items)
    noise_N: NDArray[np.float64] = (total_N + _NOISE_STRENGTH) / (data.counts_N + _NOISE_STRENGTH)
    return noise_N


def _taste(
    taste_ND: NDArray[np.float64], item_BS: NDArray[np.integer], given_BS: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sum of the items' taste vectors over the root of their number, (B, D)."""
    total_BD = np.einsum("bsd,bs->bd", taste_ND[item_BS], given_BS.astype(np.float64))
    size_B1 = np.maximum(given_BS.sum(axis=1, keepdims=True), 1)
    scaled_BD: NDArray[np.float64] = total_BD / np.sqrt(size_B1)
    return scaled_BD


def _training_taste(
    data: RatingData, taste_ND: NDArray[np.float64], users_U: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Taste of a random part of each training user's items, as large as supports are, (U, D)."""
    t = data.ratings
    rng = np.random.default_rng(data.seed)
    order = np.lexsort((rng.random(len(t)), t.user_E))
    row_E = np.searchsorted(users_U, t.user_E[order])
    count_U = np.bincount(row_E)
    place_E = np.arange(len(order)) - (np.cumsum(count_U) - count_U)[row_E]
    part_U = np.minimum((count_U + 1) // 2, _MOST_CHOSEN)
    kept_E = place_E < part_U[row_E]
    sets = csr_matrix(
        (np.ones(int(kept_E.sum())), (row_E[kept_E], t.item_E[order][kept_E])),
        (len(users_U), data.n_items),
    )
    scaled_UD: NDArray[np.float64] = (sets @ taste_ND) / np.sqrt(part_U)[:, None]
    return scaled_UD


def narrow(block: csr_matrix, known_N: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """A content column as at most 64 dense positions that keep the known items' cosines best.

    Args:
        block: (N, W) the column's positions.
        known_N: items with training ratings; the others are projected as these suggest.
        seed: of the decomposition's start.
    """
    most = min(_MOST_POSITIONS, int(known_N.sum()) - 1)
    if block.shape[1] <= _MOST_POSITIONS:
        dense: NDArray[np.float64] = block.toarray()
        return dense
    known = block[known_N]
    start = np.random.default_rng(seed).standard_normal(min(known.shape))
    _, _, right_DW = svds(known, k=most, v0=start)
    narrowed: NDArray[np.float64] = block @ right_DW.T
    return narrowed
