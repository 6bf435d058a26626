"""A strictly monotone map of predictions, learned for absolute error.

Knows nothing of where predictions come from. The best guess under absolute error is the median of
what a rating may be, and ratings are whole levels, so a good map climbs between levels and rests
on them. It never changes the order of predictions.

Shape legend: K knots.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

_KNOTS = 33
_LEAST_SLOPE = 0.05
_ROUGHNESS = 2e-3
_STEPS = 150


@dataclass(frozen=True, slots=True)
class MonotoneMap:
    """Piecewise linear between knots, with `_LEAST_SLOPE` beyond them."""

    knots_K: NDArray[np.float64]
    values_K: NDArray[np.float64]

    def __call__(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map predictions of any shape."""
        beyond = predicted - np.clip(predicted, self.knots_K[0], self.knots_K[-1])
        inside = np.interp(predicted, self.knots_K, self.values_K)
        mapped: NDArray[np.float64] = inside + _LEAST_SLOPE * beyond
        return mapped


def fit_monotone(predicted: NDArray[np.float64], rating: NDArray[np.float64]) -> MonotoneMap:
    """Fit knots and slopes to held-out predictions by gradient steps on the absolute error.

    Args:
        predicted: predictions, any shape.
        rating: the true ratings.
    """
    low, high = float(rating.min()), float(rating.max())
    knots_K = np.linspace(low, high, _KNOTS)
    width = (high - low) / (_KNOTS - 1) or 1.0
    x = torch.from_numpy(predicted.ravel().copy())
    y = torch.from_numpy(rating.ravel().copy())
    cell = torch.clamp(((x - low) / width).floor().long(), 0, _KNOTS - 2)
    inside = torch.clamp(x, low, high)
    within = (inside - low) / width - cell
    raw_K = torch.full((_KNOTS - 1,), float(np.log(np.expm1(1.0 - _LEAST_SLOPE))))
    raw_K = raw_K.double().requires_grad_()
    shift = torch.tensor(low, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([raw_K, shift], lr=0.05)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        values_K = _values(raw_K, shift, width)
        mapped = values_K[cell] + within * (values_K[cell + 1] - values_K[cell])
        mapped = mapped + _LEAST_SLOPE * (x - inside)
        loss = torch.mean(torch.abs(mapped - y)) + _ROUGHNESS * torch.mean(raw_K.diff().square())
        loss.backward()  # type: ignore[no-untyped-call] # torch declares no types here
        optimiser.step()
    with torch.no_grad():
        return MonotoneMap(knots_K, _values(raw_K, shift, width).numpy())


def _values(raw_K: Tensor, shift: Tensor, width: float) -> Tensor:
    """Values at the knots: slopes are above `_LEAST_SLOPE`."""
    rises_K = width * (_LEAST_SLOPE + softplus(raw_K))
    return shift + torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(rises_K, dim=0)])
