"""Word vectors that were learned elsewhere: what a text says in words that training never saw.

A table holds a vector for each of many word pieces. A word that is a piece itself has its vector;
any other is the mean of the longest pieces that it falls into, from the left. So every word that
can be spelt has a vector, on both sides alike, and the table's size does not depend on the data.

Knows nothing of columns, of models, or of where the table came from.

Shape legend: B texts, P pieces, W distinct words, R rows of a table, K dims of a word vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

START = "_"
"""Marks a piece that begins a word; no word holds it."""

_LONGEST_WORD = 64
"""Characters of a word that are looked at."""
_TEXTS_AT_ONCE = 512
"""Bounds the vectors that are gathered at a time."""


@dataclass(frozen=True, eq=False)
class WordVectors:
    """A table of word pieces."""

    pieces: tuple[str, ...]
    """P different ones, lower case; `START` before those that begin a word."""
    vectors_PK: NDArray[np.floating]

    @cached_property
    def _position(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces)}

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        """Letters that some piece begins with: where a search for longer pieces may go on."""
        letters = [piece.removeprefix(START) for piece in self.pieces]
        return frozenset(found[:end] for found in letters for end in range(1, len(found) + 1))

    @property
    def dims(self) -> int:
        """K."""
        return int(self.vectors_PK.shape[1])

    def split(self, word: str) -> list[int]:
        """Rows of the pieces that a lower-case word falls into; letters of no piece are skipped."""
        word = word[:_LONGEST_WORD]
        whole = self._first(word)
        if whole is not None:
            return [whole]
        rows: list[int] = []
        beginnings, row_of = self._beginnings, self._position.get
        start = 0
        while start < len(word):
            longest, after = None, start + 1
            for end in range(start + 1, len(word) + 1):
                letters = word[start:end]
                if letters not in beginnings:
                    break
                row = row_of(letters) if start else self._first(letters)
                if row is not None:
                    longest, after = row, end
            if longest is not None:
                rows.append(longest)
            start = after
        return rows

    def means(self, texts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """The mean of the word vectors of each text.

        Args:
            texts: B lists of lower-case words.

        Returns:
            (B, K); a row of zeros where no word has a vector.
        """
        pieces_of = {word: self.split(word) for word in {w for text in texts for w in text}}
        means_BK = np.zeros((len(texts), self.dims), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            block = texts[start : start + _TEXTS_AT_ONCE]
            means_BK[start : start + len(block)] = self._means(block, pieces_of)
        return means_BK

    def _means(
        self, texts: Sequence[Sequence[str]], pieces_of: Mapping[str, list[int]]
    ) -> NDArray[np.float32]:
        known = list(dict.fromkeys(w for text in texts for w in text if pieces_of[w]))
        vectors_WK = _row_means(self.vectors_PK, [pieces_of[word] for word in known])
        place = {word: i for i, word in enumerate(known)}
        return _row_means(vectors_WK, [[place[w] for w in t if w in place] for t in texts])

    def _first(self, letters: str) -> int | None:
        """Row of the piece with which a word of these letters begins."""
        row = self._position.get(START + letters)
        return self._position.get(letters) if row is None else row


def _row_means(table_RK: NDArray[np.floating], rows_B: list[list[int]]) -> NDArray[np.float32]:
    """Means of some rows of a table, (B, K); zeros where a list is empty."""
    length_B = np.array([len(rows) for rows in rows_B], dtype=np.int64)
    means_BK = np.zeros((len(rows_B), table_RK.shape[1]), dtype=np.float32)
    some_B = length_B > 0
    if some_B.any():
        chosen = table_RK[np.fromiter(chain.from_iterable(rows_B), np.int64)].astype(np.float32)
        first_B = (np.cumsum(length_B) - length_B)[some_B]
        means_BK[some_B] = np.add.reduceat(chosen, first_B, axis=0)
        means_BK[some_B] /= length_B[some_B, None].astype(np.float32)
    return means_BK
