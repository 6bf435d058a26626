"""What an item's content says of its vector and of its popularity: block-weighted ridge.

Knows nothing of supports. Every feature column is a block with its own weight, as each says more
or less: a genre much, a word of a plot little. Weights minimise the leave-one-out error over warm
items, so they need no held-out items. Numbers and dates are spread over bumps along their range,
because what they say is rarely linear.

Shape legend: N items, W warm items, R rows, F encoded positions, E expanded positions, D outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.schema import FeatureSchema
from training.item_prior import BUMP_WIDTH, BUMPS

_TUNING_ROWS = 500
_SAMPLES = 3
_STEPS = 20
_RATE = 0.3
_FREE_MEAN = 10.0
"""Prior variance of the intercept: large, so that it is hardly shrunk."""


@dataclass(frozen=True)
class Block:
    """One column, or the word vectors of one, in the expanded features."""

    name: str
    columns: slice
    part_of: str = ""
    """The column's own name where the block's is another."""

    @property
    def column(self) -> str:
        """The column's own name."""
        return self.part_of or self.name


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
            values_RC = known_R1 * np.exp(-0.5 * ((values_RC - BUMPS) / BUMP_WIDTH) ** 2)
        # Word vectors say something else than tokens: beside tokens they are a block of their own.
        n_tokens = values_RC.shape[1] - len(column.centre)
        own = Block(column.name, slice(start, start + (n_tokens or len(column.centre))))
        blocks.append(own)
        parts.append(values_RC)
        start += values_RC.shape[1]
        if own.columns.stop < start:
            vectors = slice(own.columns.stop, start)
            blocks.append(Block(f"{column.name}, word vectors", vectors, column.name))
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

    def choose_weights(
        self,
        targets_WD: NDArray[np.floating],
        rng: np.random.Generator,
        *,
        weighted: bool = True,
    ) -> dict[str, float]:
        """The weight of every block: those with the least leave-one-out error.

        Chosen on several samples of the warm items and averaged in their logs.

        Args:
            targets_WD: what to predict, rows as the warm items.
            rng: draws the samples.
            weighted: one weight a block; else one for all (plain ridge).
        """
        logs = []
        for _ in range(_SAMPLES):
            rows = np.sort(rng.permutation(len(self._warm_WE))[:_TUNING_ROWS])
            logs.append(self._log_weights(targets_WD[rows], rows, weighted))
        mean_K = np.exp(np.mean(logs, axis=0))
        return {b.name: float(w) for b, w in zip(self._blocks, mean_K, strict=True)}

    def fit(
        self,
        targets_WD: NDArray[np.floating],
        weights: Mapping[str, float],
        noise_W: NDArray[np.floating] | None = None,
    ) -> "ContentPrior":
        """Fit the regression.

        Args:
            targets_WD: what to predict, rows as the warm items.
            weights: of the blocks by name; one that is not named is left out.
            noise_W: variance of each target beside the others'; None: 1.
        """
        spread_E = np.zeros(self._warm_WE.shape[1])
        for block in self._blocks:
            spread_E[block.columns] = weights.get(block.name, 0.0)
        # In 32 bits: this product takes most of the time, and the noise is far above its error.
        narrow_WE = (self._warm_WE * np.sqrt(spread_E)).astype(np.float32)
        kernel_WW = (narrow_WE @ narrow_WE.T).astype(np.float64) + _FREE_MEAN
        kernel_WW[np.diag_indices_from(kernel_WW)] += 1.0 if noise_W is None else noise_W
        inverse_WW = np.linalg.inv(kernel_WW)
        dual_WD = inverse_WW @ targets_WD.astype(np.float64)
        map_ED = spread_E[:, None] * (self._warm_WE.T @ dual_WD)
        return ContentPrior(
            map_ED * self._scale_E[:, None],
            _FREE_MEAN * dual_WD.sum(axis=0) - (self._mean_E * self._scale_E) @ map_ED,
            dual_WD / np.diag(inverse_WW)[:, None],
        )

    def _log_weights(
        self, targets_RD: NDArray[np.floating], rows: NDArray[np.integer], weighted: bool
    ) -> NDArray[np.float64]:
        """Logs of the block weights on some rows, by gradient descent."""
        if not self._blocks:
            return np.zeros(0)
        chosen_RE = self._warm_WE[rows]
        kernels = [chosen_RE[:, b.columns] @ chosen_RE[:, b.columns].T for b in self._blocks]
        if not weighted:
            kernels = [np.sum(kernels, axis=0)]
        kernels_KRR = torch.from_numpy(np.stack(kernels))
        wanted_RD = torch.from_numpy(targets_RD.astype(np.float64))
        base_RR = torch.eye(len(rows), dtype=torch.float64) + _FREE_MEAN
        log_K = torch.full((len(kernels),), -2.0, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([log_K], lr=_RATE)
        for _ in range(_STEPS):
            kernel_RR = torch.einsum("k,krs->rs", torch.exp(log_K), kernels_KRR) + base_RR
            inverse_RR = torch.cholesky_inverse(torch.linalg.cholesky(kernel_RR))
            error_RD = (inverse_RR @ wanted_RD) / inverse_RR.diagonal()[:, None]
            loss = torch.log((error_RD**2).mean())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
        found_K = log_K.detach().numpy()
        return found_K if weighted else np.full(len(self._blocks), found_K[0])


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

    def predict(self, expanded_RE: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R, D)."""
        predicted_RD: NDArray[np.float64] = expanded_RE @ self.map_ED + self.intercept_D
        return predicted_RD
