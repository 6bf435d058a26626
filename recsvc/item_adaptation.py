"""From an item's first interactions to its vector: rounding, padding, and the call of the graph.

Pure functions around the bundle's graph. Knows nothing of the catalogue, of Redis or of HTTP.

Shape legend: B items, S support rows, D dims.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsvc.bundle import Graphs, SampleUsers

Floats = NDArray[np.float32]

EXACT_EXPOSURE = 8
"""Exposures up to here count as they are."""
_STEPS_A_DOUBLING = 4


@dataclass(frozen=True, slots=True)
class TakenItem:
    """An item and who took it, as arrays."""

    prior_vector_D: Floats
    """What its content says."""
    prior_bias: float
    states_SD: Floats
    """Of the users, without the item."""
    offset_S: Floats
    """Of each, the log of the summed exponentials of all trained items' scores."""
    exposure: int
    """Positive events of all users on trained items since the item's first event, each user and
    item once, and the item's own; at least 1."""


def rounded_exposure(exposure: int) -> int:
    """The exposure that an item is adapted with: beyond 8 the nearest of four steps a doubling.

    So all replicas use the same one though they count at different moments, and an item that is
    long known is not adapted again with every event of anybody.
    """
    if exposure <= EXACT_EXPOSURE:
        return exposure
    return round(math.exp2(_step_of(exposure) / _STEPS_A_DOUBLING))


def next_exposure(exposure: int) -> int:
    """The first larger exposure that is rounded to another value."""
    if exposure < EXACT_EXPOSURE:
        return exposure + 1
    step = _step_of(exposure)
    edge = math.ceil(math.exp2((step + 0.5) / _STEPS_A_DOUBLING))
    return edge if _step_of(edge) > step else edge + 1


def _step_of(exposure: int) -> int:
    return round(_STEPS_A_DOUBLING * math.log2(exposure))


def adapt_items(
    graphs: Graphs, sample: SampleUsers, items: Sequence[TakenItem]
) -> tuple[Floats, Floats]:
    """Adapt a batch of items, supports of any lengths, in one run of the graph.

    Args:
        graphs: the bundle's, adapt_item among them.
        sample: the bundle's sample users.
        items: B items; their exposures are given to the graph as they are.

    Returns:
        Vectors (B, D) and biases (B,), on the scale of the trained items'.
    """
    shape = (len(items), max(1, *(len(item.offset_S) for item in items)))
    states_BSD = np.zeros((*shape, items[0].states_SD.shape[1]), dtype=np.float32)
    offset_BS, weight_BS = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    for b, item in enumerate(items):
        size = len(item.offset_S)
        states_BSD[b, :size] = item.states_SD
        offset_BS[b, :size] = item.offset_S
        weight_BS[b, :size] = 1.0  # everyone counts once, whatever their event weighs: so exposure
    return graphs.adapt_item(
        np.stack([item.prior_vector_D for item in items]),
        np.asarray([item.prior_bias for item in items], dtype=np.float32),
        states_BSD,
        offset_BS,
        weight_BS,
        np.asarray([item.exposure for item in items], dtype=np.float32),
        sample.states_GD,
        sample.offset_G,
    )
