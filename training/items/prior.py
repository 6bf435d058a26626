"""Fit what content says of an item in the users' space, and how much it leaves open.

Knows nothing of supports. One block-weighted ridge predicts vector and bias together, with errors
counted by what they do to scores. Its leave-one-out errors give the covariance of new items around
their prior: a support moves an item most where content says least.

Shape legend: I trained items, R rows fitted to, F encoded positions, E expanded positions,
P = D + 1 (vector and bias), J bumps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.schema import FeatureSchema
from training.item_prior import BUMPS, ItemPrior
from training.items.content import ContentRidge, expand, noise_of

_MOST_ROWS = 4000
"""Items that the ridge is fitted to, the best known first: its cost grows with their cube."""
_LEAST_ROWS = 10
"""Fewer items than this say nothing of content."""
_HALF_TRUST = 20.0
"""Positives at which an item weighs half in the mean of all."""
_FLOOR = 1e-3
"""Of the mean variance: no direction is without any."""


@dataclass(frozen=True)
class FittedPrior:
    """Weights of an `ItemPrior`, not yet calibrated."""

    weight_FP: NDArray[np.float64]
    flags_K: NDArray[np.int64]
    values_K: NDArray[np.int64]
    weight_KJP: NDArray[np.float64]
    mean_P: NDArray[np.float64]
    """Of trained items: calibration stretches vectors from here."""
    root_PP: NDArray[np.float64]
    """L with L L' the covariance of items around their prior."""
    block_weights: Mapping[str, float]

    def module(self, scale: float = 1.0, offset: float = 0.0) -> ItemPrior:
        """The prior, calibrated: vectors stretched from the mean, biases moved."""
        stretch_P = np.append(np.full(len(self.mean_P) - 1, scale), 1.0)
        weight_FP = self.weight_FP * stretch_P
        weight_FP[0] += (1.0 - stretch_P) * self.mean_P
        weight_FP[0, -1] += offset
        return ItemPrior(weight_FP, self.flags_K, self.values_K, self.weight_KJP * stretch_P)


def score_root(states_MD: NDArray[np.floating]) -> NDArray[np.float64]:
    """R with R R' the mean of x x', x = (u, 1): errors of items times it are errors of scores."""
    x_MP = np.column_stack([states_MD, np.ones(len(states_MD))]).astype(np.float64)
    second_PP = x_MP.T @ x_MP / len(x_MP)
    ridge = 1e-6 * np.trace(second_PP) + 1e-12
    return np.asarray(np.linalg.cholesky(second_PP + ridge * np.eye(len(second_PP))))


def fit_prior(
    features: csr_matrix,
    schema: FeatureSchema,
    theta_IP: NDArray[np.floating],
    counts_I: NDArray[np.integer],
    root_PP: NDArray[np.float64],
    rng: np.random.Generator,
    block_weights: Mapping[str, float] | None = None,
) -> FittedPrior:
    """Fit prior and covariance to trained items.

    Args:
        features: (I, F) as the schema encodes.
        schema: layout of F.
        theta_IP: vectors, the bias last.
        counts_I: training positives.
        root_PP: of `score_root`.
        rng: draws the rows that block weights are chosen on.
        block_weights: of the columns, where they are known; None: chosen here.
    """
    mean_P = np.average(theta_IP, axis=0, weights=counts_I / (counts_I + _HALF_TRUST) + 1e-9)
    rows = np.sort(np.argsort(-counts_I, kind="stable")[:_MOST_ROWS])
    expanded_RE, blocks = expand(features[rows], schema)
    flags = {c.name: features[rows][:, [flag]].toarray() for c, flag, _ in schema.offsets()}
    centre_E = np.zeros(expanded_RE.shape[1])
    for block in blocks:  # a missing column then says as much as the average one: nothing
        known_R1, own = flags[block.column], block.columns
        centre_E[own] = expanded_RE[:, own].sum(axis=0) / max(known_R1.sum(), 1.0)
        expanded_RE[:, own] -= known_R1 * centre_E[own]
    if len(rows) < _LEAST_ROWS:
        expanded_RE[:] = 0.0
    scored_RP = (theta_IP[rows] - mean_P) @ root_PP
    noise_R = noise_of(counts_I[rows])
    ridge = ContentRidge(expanded_RE, blocks, np.arange(len(rows)))
    chosen = block_weights or ridge.choose_weights(scored_RP, rng)
    fitted = ridge.fit(scored_RP, chosen, noise_R)
    to_theta_PP = np.linalg.inv(root_PP)
    map_EP = fitted.map_ED @ to_theta_PP
    residual_RP = (fitted.residual_WD @ to_theta_PP) / np.sqrt(noise_R)[:, None]
    covariance_PP = residual_RP.T @ residual_RP / np.sum(1.0 / noise_R)
    covariance_PP += _FLOOR * np.trace(covariance_PP) / len(covariance_PP) * np.eye(len(mean_P))
    intercept_P = fitted.intercept_D @ to_theta_PP + mean_P
    return FittedPrior(
        *_by_position(schema, map_EP, centre_E, intercept_P),
        mean_P=mean_P,
        root_PP=np.asarray(np.linalg.cholesky(covariance_PP)),
        block_weights=chosen,
    )


def _by_position(
    schema: FeatureSchema,
    map_EP: NDArray[np.float64],
    centre_E: NDArray[np.float64],
    intercept_P: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The map of expanded features by encoded positions: linear part, flags, values, bumps."""
    weight_FP = np.zeros((schema.width, map_EP.shape[1]))
    weight_FP[0] = intercept_P
    flags, values, bumps = [], [], []
    start = 0
    for column, flag, first in schema.offsets():
        numeric = column.kind in ("numeric", "datetime")
        own = slice(start, start + (len(BUMPS) if numeric else column.width))
        start = own.stop
        weight_FP[flag] = -centre_E[own] @ map_EP[own]
        if numeric:
            flags.append(flag)
            values.append(first)
            bumps.append(map_EP[own])
        else:
            weight_FP[first : first + column.width] = map_EP[own]
    weight_KJP = np.array(bumps).reshape(len(bumps), len(BUMPS), map_EP.shape[1])
    return weight_FP, np.array(flags, np.int64), np.array(values, np.int64), weight_KJP
