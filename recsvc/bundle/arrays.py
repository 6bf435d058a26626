"""Arrays of a bundle: memory-mapped, read-only, and of the type and shape that the bundle says.

Knows nothing of what the numbers mean.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.errors import BundleRefusedError

_BLOCK_ROWS = 65_536


def read_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Map a `.npy` file; workers on one machine share its pages.

    Raises:
        BundleRefusedError: it is no plain array of this shape and type, or not finite.
    """
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as exc:
        raise BundleRefusedError(f"{path} is no plain numpy array: {exc}") from exc
    if mapped.shape != shape or mapped.dtype != dtype or not mapped.flags.c_contiguous:
        raise BundleRefusedError(
            f"{path} holds {mapped.dtype} of shape {mapped.shape}, the bundle says "
            f"{np.dtype(dtype)} of {shape} in C order; export it again"
        )
    array: NDArray[Any] = np.asarray(mapped)
    for block in blocks(array):
        if not np.isfinite(block).all():
            raise BundleRefusedError(f"{path} holds a NaN or an infinity; train it again")
    return array


def blocks(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Views of consecutive rows: checks of a block need no copy of the whole."""
    return [array[start : start + _BLOCK_ROWS] for start in range(0, len(array), _BLOCK_ROWS)]
