"""The adapt graph in plain numpy, one task at a time, written from the formulas alone.

Shape legend: S support rows, M catalogue rows, D dims.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def adapt_one(
    prior_D: Array,
    support_SD: Array,
    label_S: Array,
    weight_S: Array,
    steps: int,
    catalogue_MD: Array,
    bias_M: Array,
    rate_KD: Array,
    size_rate_KW: Array,
    decay_K: Array,
    shrinkage_W: Array,
) -> Array:
    """K gradient steps of one task, in float64."""
    rows = [s for s in range(len(weight_S)) if weight_S[s] * label_S[s] > 0]
    if not rows:
        return prior_D
    total = sum(weight_S[s] * label_S[s] for s in rows)
    target_D = sum(weight_S[s] * label_S[s] / total * support_SD[s] for s in rows)
    size = min(len(rows), len(shrinkage_W) - 1)
    state_D = prior_D.copy()
    for k in range(min(steps, len(decay_K))):
        logit_M = catalogue_MD @ state_D + bias_M
        chance_M = np.exp(logit_M - logit_M.max())
        chance_M /= chance_M.sum()
        gradient_D = chance_M @ catalogue_MD - target_D + np.exp(decay_K[k]) * (state_D - prior_D)
        state_D = state_D - np.exp(rate_KD[k] + size_rate_KW[k, size]) * gradient_D
    return np.asarray(prior_D + shrinkage_W[size] * (state_D - prior_D))
