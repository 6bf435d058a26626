"""Which items have which attribute value: an inverted index over the columns of a catalogue.

Trained rows are indexed once, as arrays; rows that were added or changed since are kept beside
them. So a filter costs what it finds, not a look at every item. Values are compared as categories:
3, 3.0 and "3" are one value. Knows nothing of vectors or of who may see an item.

Shape legend: N trained rows, T distinct values of a column, E (row, value) entries.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.schema import Column, split_tokens

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Trained:
    """The rows of each value of one column."""

    position: Mapping[str, int]
    indptr_T1: NDArray[np.int64]
    row_E: NDArray[np.int32]

    def rows(self, token: str) -> NDArray[np.int32]:
        position = self.position.get(token)
        if position is None:
            return self.row_E[:0]
        return self.row_E[self.indptr_T1[position] : self.indptr_T1[position + 1]]


class AttributeIndex:
    """Rows by column and value.

    Args:
        columns: those of the schema; they say which values are several.
        trained: N raw values of each column, None where there is none.
        n_trained: N.
    """

    def __init__(
        self,
        columns: Iterable[Column],
        trained: Mapping[str, Sequence[Any]],
        n_trained: int,
    ) -> None:
        self._separators = {c.name: c.separator for c in columns if c.kind == "multi-categorical"}
        self._trained = {name: self._index(name, values) for name, values in trained.items()}
        self._replaced_N = np.zeros(n_trained, dtype=bool)
        self._later: dict[tuple[str, str], set[int]] = {}
        self._later_pairs: dict[int, set[tuple[str, str]]] = {}

    def put(self, row: int, features: Mapping[str, Any]) -> None:
        """Give a row its values; those that it had before are gone."""
        for pair in self._later_pairs.pop(row, ()):
            self._later[pair].discard(row)
            if not self._later[pair]:
                del self._later[pair]
        pairs = {(name, token) for name, v in features.items() for token in self._tokens(name, v)}
        self._later_pairs[row] = pairs
        for pair in pairs:
            self._later.setdefault(pair, set()).add(row)
        if row < len(self._replaced_N):
            self._replaced_N[row] = True

    def any_of(self, pairs: Iterable[tuple[str, Any]], n_rows: int) -> Mask:
        """The rows that have at least one of some values.

        Args:
            pairs: column and value; a row that holds several values of a column has each of them.
            n_rows: length of the answer, at least N.
        """
        mask = np.zeros(n_rows, dtype=bool)
        wanted = [(column, split_tokens(value, None)[0]) for column, value in pairs]
        for column, token in wanted:
            if column in self._trained:
                mask[self._trained[column].rows(token)] = True
        mask[: len(self._replaced_N)] &= ~self._replaced_N
        for pair in wanted:
            mask[list(self._later.get(pair, ()))] = True
        return mask

    def _tokens(self, column: str, value: Any) -> list[str]:
        return [] if value is None else split_tokens(value, self._separators.get(column))

    def _index(self, column: str, values: Sequence[Any]) -> _Trained:
        position: dict[str, int] = {}
        positions, rows = array("i"), array("i")
        for row, value in enumerate(values):
            for token in self._tokens(column, value):
                positions.append(position.setdefault(token, len(position)))
                rows.append(row)
        position_E = np.asarray(positions, dtype=np.int32)
        order_E = np.argsort(position_E, kind="stable")
        counts_T = np.bincount(position_E, minlength=len(position))
        indptr_T1 = np.concatenate([[0], np.cumsum(counts_T)])
        return _Trained(position, indptr_T1, np.asarray(rows, dtype=np.int32)[order_E])
