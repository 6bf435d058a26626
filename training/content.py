"""Encoded features of which something is missing: in linear maps at export, and as rows.

Knows nothing of ONNX or of training runs.

Shape legend: F feature positions, D dims.
"""

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.schema import FeatureSchema

_ALWAYS = 1.0 - 1e-6


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


def blank_row(schema: FeatureSchema, mean_F: NDArray[np.floating]) -> NDArray[np.float32]:
    """The encoded row of somebody of whom nothing is known, (F,), as `fill_missing` reads it: the
    average where training saw no column missing, else the missing column.

    Args:
        schema: layout of the F positions, the intercept first.
        mean_F: mean encoded row of the training rows.
    """
    blank_F = np.zeros(len(mean_F), dtype=np.float32)
    blank_F[0] = 1.0
    for column, flag, first in schema.offsets():
        if mean_F[flag] >= _ALWAYS:
            own = slice(first, first + column.width)
            blank_F[own], blank_F[flag] = mean_F[own], mean_F[flag]
    return blank_F
