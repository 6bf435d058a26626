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


def adapt_one_item(
    prior_P: Array,
    support_SD: Array,
    weight_S: Array,
    exposure: float,
    sample_MD: Array,
    offset_M: Array,
    root_PP: Array,
    exposure_weight: float,
    burst: float,
    first_event: float,
    ceiling: float,
    offset: float,
) -> Array:
    """The posterior of one item by three Newton steps, each of three conjugate-gradient steps."""
    x_MP = np.column_stack([sample_MD, np.ones(len(sample_MD))])
    basis_MP = x_MP @ root_PP
    base_M = x_MP @ prior_P - offset - offset_M
    taken = sum(weight_S)
    pull_P = sum(
        (w * root_PP.T @ np.append(u, 1.0) for w, u in zip(weight_S, support_SD, strict=True)), 0.0
    )
    first = first_event * min(taken, 1.0)
    later = taken - first
    if exposure > 0:
        met = exposure_weight * (max(exposure - first, 0.0) + burst)
    else:
        met = later / np.exp(base_M).mean()
    expected, variance = met * np.exp(base_M).mean(), float(root_PP[-1] @ root_PP[-1])
    rise = max(np.log(max(later, 1e-6) / max(expected, 1e-6)), 0.0)
    for _ in range(4):
        more = expected * np.exp(rise)
        rise -= (more + rise / variance - later) / (more + 1.0 / variance)
    z_P = rise * root_PP[-1] / variance
    for _ in range(3):
        chance_M = np.exp(base_M + basis_MP @ z_P)
        share_M = first * chance_M / chance_M.sum()
        rate_M = met * chance_M / len(x_MP) + share_M
        mean_P = share_M @ basis_MP
        gradient_P = pull_P - rate_M @ basis_MP - z_P
        curvature_PP = basis_MP.T @ (rate_M[:, None] * basis_MP) - np.outer(mean_P, mean_P)
        curvature_PP += np.eye(len(z_P))
        step_P, residual_P, way_P = np.zeros_like(z_P), gradient_P, gradient_P
        for _ in range(3):
            energy = residual_P @ residual_P
            length = energy / max(way_P @ curvature_PP @ way_P, 1e-20)
            step_P = step_P + length * way_P
            residual_P = residual_P - length * (curvature_PP @ way_P)
            way_P = residual_P + residual_P @ residual_P / max(energy, 1e-20) * way_P
        z_P = z_P + step_P * min(1.0, 1.5 / max(np.abs(basis_MP @ step_P).max(), 1e-9))
    before = np.log(np.exp(base_M).mean())
    after = np.log(np.exp(base_M + basis_MP @ z_P).mean())
    adapted_P = np.asarray(prior_P + root_PP @ z_P)
    adapted_P[-1] -= max(after - max(before, ceiling), 0.0)
    return adapted_P
