"""Vectors and biases of the items that training did not learn, in one block that grows.

A row starts at what the item's content says, its prior, and may be moved from there by the item's
first interactions; the prior is kept, because every move starts from it anew. Knows nothing of ids,
features or users.

Shape legend: U rows, R some of them, D dims.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = Sequence[int] | NDArray[np.int64]

_MIN_GROWTH_ROWS = 64


class UntrainedRows:
    """The block.

    Args:
        vectors_UD: of the rows that are there from the start; copied.
        bias_U: theirs.
    """

    def __init__(self, vectors_UD: Floats, bias_U: Floats) -> None:
        self._vectors_UD = np.array(vectors_UD, dtype=np.float32)
        self._bias_U = np.array(bias_U, dtype=np.float32)
        self._size = len(bias_U)
        self._priors: dict[int, tuple[Floats, np.float32]] = {}
        """Of moved rows."""

    def __len__(self) -> int:
        return self._size

    @property
    def block(self) -> tuple[Floats, Floats]:
        """Vectors (U, D) and biases (U,) as they are scored now; views."""
        return self._vectors_UD[: self._size], self._bias_U[: self._size]

    def append(self) -> int:
        """Make room for another row, all zero; its number."""
        if self._size == len(self._bias_U):
            extra = max(_MIN_GROWTH_ROWS, self._size)
            self._vectors_UD = np.pad(self._vectors_UD, ((0, extra), (0, 0)))
            self._bias_U = np.pad(self._bias_U, (0, extra))
        self._size += 1
        return self._size - 1

    def start(self, row: int, vector_D: Floats, bias: np.float32) -> None:
        """Put a row at its prior."""
        self._priors.pop(row, None)
        self._vectors_UD[row] = vector_D
        self._bias_U[row] = bias

    def priors(self, rows: Rows) -> tuple[Floats, Floats]:
        """What the content of some rows says: vectors (R, D) and biases (R,); copies."""
        index = np.asarray(rows, dtype=np.int64)
        vectors_RD, bias_R = self._vectors_UD[index], self._bias_U[index]
        for place, row in enumerate(index.tolist()):
            if row in self._priors:
                vectors_RD[place], bias_R[place] = self._priors[row]
        return vectors_RD, bias_R

    def move(self, row: int, vector_D: Floats, bias: np.float32) -> None:
        """Move a row away from its prior."""
        if row not in self._priors:
            self._priors[row] = self._vectors_UD[row].copy(), self._bias_U[row]
        self._vectors_UD[row] = vector_D
        self._bias_U[row] = bias

    def restore(self, row: int) -> None:
        """Put a row back to its prior; harmless where it is there."""
        if row in self._priors:
            self._vectors_UD[row], self._bias_U[row] = self._priors.pop(row)
