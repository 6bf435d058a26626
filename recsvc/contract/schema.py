"""Feature schema, and the one encoder that training and service share.

Knows nothing of data frames, files or models: it turns one row's raw feature values into a vector.

Layout of an encoded vector, F positions wide:

    [0]                 intercept, always 1
    [1 .. C]            presence flag of each of the C columns: 1 where the column has a known value
    [C+1 ..]            the columns' own positions, in order

A missing value and a category that training never saw are the same ordinary thing: the presence
flag and all positions of that column are 0. A linear map whose presence weight is minus the mean
contribution of the column therefore treats a missing column as average.

A text column may be encoded by its tokens, the words that training saw (a position each), by the
mean of its words' vectors in a table that was learned elsewhere (K positions, of length 1),
or by both, tokens first.

Shape legend: B rows, F feature positions, K dims of a word vector.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsvc.contract.errors import SchemaError
from recsvc.contract.words import WordVectors

Kind = Literal["categorical", "multi-categorical", "numeric", "text", "datetime"]

_WORD = re.compile(r"[^\W_]+")
_DAY_S = 86_400.0
_MOST_DEVIATIONS = 4.0
"""A number further out is read as this far out: a linear map must not extrapolate without end."""
_MOST_CHARACTERS = 20_000
"""Of a text that are read."""
_TEXTS_AT_ONCE = 4096
"""Texts whose words are held at a time."""


class Column(BaseModel):
    """One feature column as training fitted it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """The data set's own column name."""
    kind: Kind
    separator: str = "|"
    """Splits a multi-categorical value that arrives as one string."""
    vocabulary: tuple[str, ...] = ()
    """Known categories or text tokens, one position each."""
    idf: tuple[float, ...] = ()
    """Inverse document frequency of each token (text only)."""
    centre: tuple[float, ...] = ()
    """Mean word vector of the column's texts, (K,); empty where words have no vectors."""
    mean: float = 0.0
    """Mean of a numeric column; of a datetime column in days since 1970-01-01."""
    scale: float = Field(default=1.0, gt=0)
    """Standard deviation, in the mean's unit."""

    @property
    def width(self) -> int:
        """Positions that the column takes, its presence flag not counted."""
        return self.token_width + len(self.centre)

    @property
    def token_width(self) -> int:
        """The same without those of word vectors, which come last."""
        return 1 if self.kind in ("numeric", "datetime") else len(self.vocabulary)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary)}

    def encode(self, value: Any) -> list[tuple[int, float]]:
        """Encode one raw value to (position within the column, weight) pairs, word vectors apart.

        Args:
            value: what the data set or the request holds; None and NaN mean missing.

        Returns:
            No pairs where the value is missing or unknown.

        Raises:
            SchemaError: the value is not of the column's kind.
        """
        if _is_missing(value):
            return []
        if self.kind in ("numeric", "datetime"):
            deviations = (self.number(value) - self.mean) / self.scale
            return [(0, min(max(deviations, -_MOST_DEVIATIONS), _MOST_DEVIATIONS))]
        if self.kind == "text":
            return self._text(value)
        return self._categories(value)

    def unknown(self, value: Any) -> list[str]:
        """The categories of a raw value that training never saw, sorted; none of other kinds."""
        if value is None or self.kind not in ("categorical", "multi-categorical"):
            return []
        tokens = split_tokens(value, self.separator if self.kind == "multi-categorical" else None)
        return sorted({t for t in tokens if t not in self._position})

    def mean_vectors(self, values: Sequence[Any], words: WordVectors) -> NDArray[np.float32]:
        """The mean vector of the different words of some texts.

        Args:
            values: B raw values; None and NaN mean missing.
            words: a table.

        Returns:
            (B, K); zeros where the value is missing or no word has a vector.

        Raises:
            SchemaError: a value is not text.
        """
        means_BK = np.zeros((len(values), words.dims), dtype=np.float32)
        for start in range(0, len(values), _TEXTS_AT_ONCE):
            texts = values[start : start + _TEXTS_AT_ONCE]
            tokens = [() if _is_missing(v) else self._tokens(v) for v in texts]
            means_BK[start : start + len(texts)] = words.means(tokens)
        return means_BK

    def word_vectors(self, values: Sequence[Any], words: WordVectors) -> NDArray[np.float32]:
        """The way from the column's centre to `mean_vectors`, of length 1, (B, K).

        Zeros where the mean is. Takes and raises the same.
        """
        means_BK = self.mean_vectors(values, words)
        known_B1 = means_BK.any(axis=1, keepdims=True)
        away_BK = np.where(known_B1, means_BK - np.array(self.centre, np.float32), np.float32(0))
        length_B1 = np.sqrt((away_BK**2).sum(axis=1, keepdims=True))
        unit_BK: NDArray[np.float32] = away_BK / np.maximum(length_B1, np.float32(1e-6))
        return unit_BK

    def number(self, value: Any) -> float:
        """A value of a numeric column, or days since 1970 of a datetime column, not scaled.

        Raises:
            SchemaError: the value is not of the column's kind.
        """
        return self._number(value) if self.kind == "numeric" else self._days(value)

    def _categories(self, value: Any) -> list[tuple[int, float]]:
        tokens = split_tokens(value, self.separator if self.kind == "multi-categorical" else None)
        known = sorted({self._position[t] for t in tokens if t in self._position})
        if not known:
            return []
        weight = 1.0 / math.sqrt(len(known))
        return [(i, weight) for i in known]

    def _tokens(self, value: Any) -> tuple[str, ...]:
        """The different words of a text, in order."""
        if not isinstance(value, str):
            raise SchemaError(
                f"feature {self.name!r}: {value!r} is not text; send a string or leave it out"
            )
        return tuple(dict.fromkeys(tokenize(value[:_MOST_CHARACTERS])))

    def _text(self, value: Any) -> list[tuple[int, float]]:
        if isinstance(value, str) and not self.vocabulary:
            return []
        tokens = self._tokens(value)
        known = sorted(self._position[t] for t in tokens if t in self._position)
        norm = math.sqrt(sum(self.idf[i] ** 2 for i in known))
        return [(i, self.idf[i] / norm) for i in known] if norm > 0 else []

    def _number(self, value: Any) -> float:
        try:
            number = None if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = None
        if number is None or not math.isfinite(number):
            lacking = "a number" if number is None else "finite"
            raise SchemaError(
                f"feature {self.name!r}: {value!r} is not {lacking}; send a number or leave it out"
            )
        return number

    def _days(self, value: Any) -> float:
        if isinstance(value, datetime | date):
            return _days_of(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(value) / _DAY_S
        try:
            return _days_of(datetime.fromisoformat(str(value)))
        except ValueError as exc:
            raise SchemaError(
                f"feature {self.name!r}: {value!r} is not a date; send ISO 8601 "
                "(2026-01-31 or 2026-01-31T12:00:00Z), seconds since 1970, or leave it out"
            ) from exc


class FeatureSchema(BaseModel):
    """The feature columns of users or of items, in the order of their positions."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    columns: tuple[Column, ...] = ()
    words: WordVectors | None = Field(default=None, exclude=True, repr=False)
    """The table that text columns were fitted with; in a bundle a file beside the manifest."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> "FeatureSchema":
        names = [c.name for c in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"column names repeat: {names}")
        return self

    @property
    def width(self) -> int:
        """F: intercept + one presence flag a column + the columns' positions."""
        return 1 + len(self.columns) + sum(c.width for c in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def unknown(self, row: Mapping[str, Any]) -> dict[str, list[str]]:
        """The categories of one row's raw values that training never saw, by column."""
        found = {c.name: c.unknown(row.get(c.name)) for c in self.columns}
        return {name: values for name, values in found.items() if values}

    def offsets(self) -> Iterator[tuple[Column, int, int]]:
        """Yield (column, position of its presence flag, first own position)."""
        first = 1 + len(self.columns)
        for i, column in enumerate(self.columns):
            yield column, 1 + i, first
            first += column.width

    def encode_sparse(
        self, rows: Sequence[Mapping[str, Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Encode rows to CSR arrays.

        Args:
            rows: B mappings from column name to raw value; other keys are ignored.

        Returns:
            indptr (B+1,), indices (nnz,), values (nnz,) of a B x F matrix, positions ascending.

        Raises:
            SchemaError: a value is not of its column's kind.
        """
        layout = list(self.offsets())
        meanings = {
            column.name: self.word_vectors(column, [row.get(column.name) for row in rows])
            for column in self.columns
            if column.centre
        }
        indptr = np.zeros(len(rows) + 1, dtype=np.int64)
        indices: list[int] = []
        values: list[float] = []
        for b, row in enumerate(rows):
            entries = [(0, 1.0)]
            for column, flag, first in layout:
                pairs = column.encode(row.get(column.name))
                if column.centre:
                    vector_K = meanings[column.name][b]
                    at_K = np.flatnonzero(vector_K)
                    pairs += [(column.token_width + int(i), float(vector_K[i])) for i in at_K]
                if pairs:
                    entries.append((flag, 1.0))
                    entries.extend((first + i, weight) for i, weight in pairs)
            entries.sort()
            indices.extend(i for i, _ in entries)
            values.extend(weight for _, weight in entries)
            indptr[b + 1] = len(indices)
        return indptr, np.asarray(indices, np.int32), np.asarray(values, np.float32)

    def word_vectors(self, column: Column, values: Sequence[Any]) -> NDArray[np.float32]:
        """`Column.word_vectors` with this schema's table."""
        assert self.words is not None, "a schema lost its word vectors. This is a bug."
        return column.word_vectors(values, self.words)

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Encode rows to a dense (B, F) float32 matrix. See `encode_sparse`."""
        indptr, indices, values = self.encode_sparse(rows)
        dense_BF = np.zeros((len(rows), self.width), dtype=np.float32)
        dense_BF[np.repeat(np.arange(len(rows)), np.diff(indptr)), indices] = values
        return dense_BF


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def tokenize(text: str) -> list[str]:
    """Lower-case words (runs of letters and digits) of a text, in order."""
    return _WORD.findall(text.lower())


def split_tokens(value: Any, separator: str | None) -> list[str]:
    """Categories of a raw value: a list as it is, a string split, anything else as one category.

    Numbers are written as training reads them, so that 3, 3.0 and "3" are one category.
    """
    if isinstance(value, list | tuple | set):
        return [_category(v) for v in value]
    if separator is not None and isinstance(value, str):
        return [part.strip() for part in value.split(separator) if part.strip()]
    return [_category(value)]


def _category(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _days_of(value: datetime | date) -> float:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value.timestamp() / _DAY_S
