"""Linear maps of encoded features at export: missing columns, and items without interactions.

Knows nothing of ONNX or of training runs.

Shape legend: N items, F feature positions, D dims.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold

from recsvc.contract.schema import FeatureSchema

_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_ALWAYS = 1.0 - 1e-6
_HALF_TRUST = 20.0
"""Positives at which an item's vector weighs half of what a perfectly known one weighs."""


def fill_missing(
    weight_FD: NDArray[np.floating], schema: FeatureSchema, mean_F: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Give a column that training never saw missing the average effect when it is missing.

    A missing column encodes as zeros. Where training saw none missing, the map would read that as
    an extreme row; moving the column's mean effect from its positions into the presence flag makes
    "missing" the average row, and changes nothing for a row that has the column.

    Args:
        weight_FD: map from encoded features, intercept first.
        schema: layout of the F positions.
        mean_F: mean encoded row of the training rows.
    """
    filled_FD = np.array(weight_FD, dtype=np.float64)
    for column, flag, first in schema.offsets():
        if mean_F[flag] < _ALWAYS:
            continue  # training saw it missing, and learned what that means
        own = slice(first, first + column.width)
        effect_D = mean_F[own] @ filled_FD[own] + filled_FD[flag]
        filled_FD[0] += effect_D
        filled_FD[flag] -= effect_D
    return filled_FD.astype(np.float32)


def fit_content_prior(
    features_NF: csr_matrix,
    targets_ND: NDArray[np.floating],
    positives_N: NDArray[np.integer],
    seed: int,
) -> NDArray[np.float32]:
    """Ridge regression from item features to targets, for items that nobody has touched.

    Items with more positives are better known and weigh more. The strength is chosen by
    five-fold cross-validation over items.

    Args:
        features_NF: encoded features of the trained items.
        targets_ND: their vectors, with the bias as a last column.
        positives_N: their positives in training.
        seed: of the folds.

    Returns:
        (F, D) weights for the encoded features, the intercept first.
    """
    weight_N = positives_N / (positives_N + _HALF_TRUST)
    mean_D = np.average(targets_ND, axis=0, weights=weight_N)
    mean_D[-1] = targets_ND[:, -1].mean()  # an unknown item is as popular as the average one
    out_FD = np.zeros((features_NF.shape[1], targets_ND.shape[1]))
    out_FD[0] = mean_D
    if features_NF.shape[1] == 1 or features_NF.shape[0] < 10:
        return out_FD.astype(np.float32)
    search: Any = GridSearchCV(
        Ridge(fit_intercept=False, solver="sparse_cg"),
        {"alpha": list(_STRENGTHS)},
        scoring="neg_mean_squared_error",
        cv=KFold(5, shuffle=True, random_state=seed),
    )
    search.fit(features_NF[:, 1:], targets_ND - mean_D, sample_weight=weight_N)
    out_FD[1:] = search.best_estimator_.coef_.T
    return out_FD.astype(np.float32)
