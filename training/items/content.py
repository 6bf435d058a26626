"""What an item's content says of its vector and of its popularity: block-weighted ridge.

Knows nothing of supports. Every feature column is a block with its own weight, as each says more
or less: a genre much, a word of a plot little. Weights minimise the leave-one-out error over warm
items, so they need no held-out items. Numbers and dates are spread over bumps along their range,
because what they say is rarely linear.

Shape legend: N items, W warm items, R rows, F encoded positions, E expanded positions, D outputs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.schema import FeatureSchema

_BUMPS = np.linspace(-4.0, 4.0, 33)
_BUMP_WIDTH = 0.35
"""Both in standard deviations of the column."""
_TUNING_ROWS = 500
_STEPS = 25
_RATE = 0.3
_FREE_MEAN = 10.0
"""Prior variance of the intercept: large, so that it is hardly shrunk."""


@dataclass(frozen=True)
class Block:
    """One column in the expanded features."""

    name: str
    columns: slice


def expand(features: csr_matrix, schema: FeatureSchema) -> tuple[NDArray[np.float64], list[Block]]:
    """Encoded rows as dense expanded ones, without intercept, and which positions a column has.

    Args:
        features: (R, F) as the schema encodes.
        schema: its layout.

    Returns:
        (R, E), and the blocks in the schema's order.
    """
    parts: list[NDArray[np.float64]] = []
    blocks: list[Block] = []
    start = 0
    for column, flag, first in schema.offsets():
        values_RC = features[:, first : first + column.width].toarray().astype(np.float64)
        if column.kind in ("numeric", "datetime"):
            known_R1 = features[:, [flag]].toarray()
            values_RC = known_R1 * np.exp(-0.5 * ((values_RC - _BUMPS) / _BUMP_WIDTH) ** 2)
        parts.append(values_RC)
        blocks.append(Block(column.name, slice(start, start + values_RC.shape[1])))
        start += values_RC.shape[1]
    return np.concatenate([np.zeros((features.shape[0], 0)), *parts], axis=1), blocks


class ContentRidge:
    """Ridge regression from content to several outputs, one weight a block."""

    def __init__(
        self,
        expanded_NE: NDArray[np.float64],
        blocks: list[Block],
        warm_W: NDArray[np.integer],
    ) -> None:
        self._mean_E = expanded_NE[warm_W].mean(axis=0)
        self._scale_E = np.ones(expanded_NE.shape[1])
        centred_WE = expanded_NE[warm_W] - self._mean_E
        self._blocks = blocks
        for block in blocks:
            size = np.sqrt((centred_WE[:, block.columns] ** 2).sum(axis=1).mean())
            self._scale_E[block.columns] = 1.0 / max(size, 1e-9)
        self._warm_WE = centred_WE * self._scale_E

    def fit(
        self,
        targets_WD: NDArray[np.floating],
        rng: np.random.Generator,
        *,
        weighted: bool = True,
        noise_W: NDArray[np.floating] | None = None,
    ) -> "ContentPrior":
        """Choose weights and fit.

        Args:
            targets_WD: what to predict, rows as the warm items.
            rng: which items the weights are chosen on.
            weighted: one weight a block; else one for all (plain ridge).
            noise_W: variance of each target beside the others'; None: all alike.
        """
        noise_W = np.ones(len(self._warm_WE)) if noise_W is None else noise_W
        rows = np.sort(rng.permutation(len(self._warm_WE))[:_TUNING_ROWS])
        weights = self._weights(targets_WD, rows, weighted)
        spread_E = np.zeros(self._warm_WE.shape[1])
        for block, weight in zip(self._blocks, weights, strict=True):
            spread_E[block.columns] = weight
        kernel_WW = (self._warm_WE * spread_E) @ self._warm_WE.T
        kernel_WW += _FREE_MEAN
        kernel_WW[np.diag_indices_from(kernel_WW)] += noise_W
        inverse_WW = np.linalg.inv(kernel_WW)
        dual_WD = inverse_WW @ targets_WD.astype(np.float64)
        map_ED = spread_E[:, None] * (self._warm_WE.T @ dual_WD)
        residual_WD = dual_WD / np.diag(inverse_WW)[:, None]
        return ContentPrior(
            map_ED * self._scale_E[:, None],
            _FREE_MEAN * dual_WD.sum(axis=0) - (self._mean_E * self._scale_E) @ map_ED,
            residual_WD,
            {b.name: float(w) for b, w in zip(self._blocks, weights, strict=True)},
        )

    def _weights(
        self,
        targets_WD: NDArray[np.floating],
        rows: NDArray[np.integer],
        weighted: bool,
    ) -> NDArray[np.float64]:
        """Block weights with the least leave-one-out error, by gradient descent on their logs."""
        if not self._blocks:
            return np.zeros(0)
        chosen_RE = self._warm_WE[rows]
        kernels = [chosen_RE[:, b.columns] @ chosen_RE[:, b.columns].T for b in self._blocks]
        if not weighted:
            kernels = [np.sum(kernels, axis=0)]
        kernels_KRR = torch.from_numpy(np.stack(kernels))
        targets_RD = torch.from_numpy(targets_WD[rows].astype(np.float64))
        base_RR = torch.eye(len(rows), dtype=torch.float64) + _FREE_MEAN
        log_K = torch.full((len(kernels),), -2.0, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([log_K], lr=_RATE)
        for _ in range(_STEPS):
            kernel_RR = torch.einsum("k,krs->rs", torch.exp(log_K), kernels_KRR) + base_RR
            inverse_RR = torch.cholesky_inverse(torch.linalg.cholesky(kernel_RR))
            error_RD = (inverse_RR @ targets_RD) / inverse_RR.diagonal()[:, None]
            loss = torch.log((error_RD**2).mean())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
        weights_K = np.exp(log_K.detach().numpy())
        return weights_K if weighted else np.full(len(self._blocks), weights_K[0])


def noise_of(counts_W: NDArray[np.integer]) -> NDArray[np.float64]:
    """Variance of an item's vector by how many interactions it was fitted to, the median's 2.

    Bounded both ways: even a vector of many interactions is not what content could say exactly.
    """
    known_W = counts_W / max(float(np.median(counts_W)), 1.0)
    noise_W: NDArray[np.float64] = 2.0 * np.minimum(known_W + 0.1, 10.0) ** -0.7
    return noise_W


@dataclass(frozen=True)
class ContentPrior:
    """A fitted linear map from expanded features."""

    map_ED: NDArray[np.float64]
    intercept_D: NDArray[np.float64]
    residual_WD: NDArray[np.float64]
    """Leave-one-out errors of the warm items: what content does not say."""
    weights: dict[str, float]

    def predict(self, expanded_RE: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R, D)."""
        predicted_RD: NDArray[np.float64] = expanded_RE @ self.map_ED + self.intercept_D
        return predicted_RD
