"""Feature rows to the encoded matrix that models read, through the schema shared with the service.

Knows nothing of files. Statistics come only from the rows that the caller allows, so that nothing
of a held-out user or item leaks into training.

Shape legend: R rows, F feature positions.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from recsvc.contract.schema import Column, FeatureSchema, split_tokens, tokenize
from training.datasets.dataset import ColumnConfig
from training.datasets.word_vectors import fit_words

FEW_CATEGORIES = 32
"""A single-valued column with at most so many categories keeps them all."""
MIN_ROWS = 5
"""Rows that a category of a larger column must have to be kept."""
MIN_ROWS_OF_MANY = 3
"""The same for the categories of a multi-valued column, and for the words of a text."""
MAX_CATEGORIES = 5000
MAX_WORDS = 2000


def fit_schema(
    frame: pl.DataFrame | None,
    columns: Mapping[str, ColumnConfig],
    rows: NDArray[np.bool_] | None = None,
) -> FeatureSchema:
    """Fit vocabularies and scales.

    Args:
        frame: (R, ...) feature rows, as `Dataset.users` or `Dataset.items`; None: no features.
        columns: the kind of each column.
        rows: (R,) rows whose values may be used; None: all.

    Returns:
        A schema of the columns that have something to say; a column without any known category
        or value in these rows is left out.

    Raises:
        DataError: a text is to be encoded by word vectors, and there are none.
    """
    if frame is None:
        return FeatureSchema()
    allowed = frame if rows is None else frame.filter(pl.Series(rows))
    used = [n for n in frame.columns if n in columns and columns[n].kind != "ignore"]
    counts = {name: _count(allowed[name]) for name in used}
    fitted = [_fit_column(name, columns[name], counts[name]) for name in used]
    known = [c for c in fitted if c is not None]
    texts = {c.name: list(counts[c.name]) for c in known if _has_vectors(columns[c.name])}
    return fit_words(known, texts)


def encode(frame: pl.DataFrame | None, schema: FeatureSchema, n_rows: int) -> sparse.csr_matrix:
    """Encode feature rows, as `FeatureSchema.encode_sparse` does, one distinct value at a time.

    Args:
        frame: up to `n_rows` feature rows; rows beyond them have the intercept alone.

    Returns:
        (n_rows, F) float32.

    Raises:
        SchemaError: a value is not of its column's kind.
    """
    blocks: list[Any] = []
    flags: list[Any] = []
    for column in schema.columns:
        block, flag = _encode_column(schema, column, frame, n_rows)
        blocks.append(block)
        flags.append(flag)
    intercept = sparse.csr_matrix(np.ones((n_rows, 1), dtype=np.float32))
    matrix = sparse.hstack([intercept, *flags, *blocks], format="csr", dtype=np.float32)
    return sparse.csr_matrix(matrix)


def _encode_column(
    schema: FeatureSchema, column: Column, frame: pl.DataFrame | None, n_rows: int
) -> tuple[Any, Any]:
    """The column's own positions (n_rows, width), and its presence flag (n_rows, 1)."""
    values = frame[column.name].to_list() if frame is not None and column.name in frame else []
    values += [None] * (n_rows - len(values))
    position: dict[Any, int] = {}
    code_R = np.fromiter(
        (position.setdefault(_key(v), len(position)) for v in values), np.int64, n_rows
    )
    pairs = [column.encode(v) for v in position]
    indptr = np.cumsum([0, *map(len, pairs)])
    indices = np.array([i for row in pairs for i, _ in row], dtype=np.int32)
    weights = np.array([w for row in pairs for _, w in row], dtype=np.float32)
    distinct = sparse.csr_matrix((weights, indices, indptr), shape=(len(pairs), column.token_width))
    if column.centre:
        meanings = sparse.csr_matrix(schema.word_vectors(column, list(position)))
        distinct = sparse.hstack([distinct, meanings], format="csr")
        indptr = distinct.indptr
    known = sparse.csr_matrix((np.diff(indptr) > 0).astype(np.float32)[:, None])
    return distinct[code_R], known[code_R]


def _has_vectors(config: ColumnConfig) -> bool:
    return config.kind == "text" and config.encoder != "tokens"


def _key(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _count(values: pl.Series) -> Counter[Any]:
    """How many rows hold each known value."""
    known = values.drop_nulls()
    known = known.drop_nans() if known.dtype.is_float() else known
    return Counter(_key(v) for v in known.to_list())


def _fit_column(name: str, config: ColumnConfig, counts: Counter[Any]) -> Column | None:
    if not counts or config.kind == "ignore":
        return None
    if config.kind in ("numeric", "datetime"):
        return _fit_scale(Column(name=name, kind=config.kind), counts)
    if config.kind == "text":
        rows_of = _rows_of(counts, lambda v: tokenize(str(v)))
        most = 0 if config.encoder == "words" else MAX_WORDS
        words = _most_frequent(rows_of, MIN_ROWS_OF_MANY, most)
        n_rows = sum(counts.values())
        idf = tuple(math.log((1 + n_rows) / (1 + rows_of[w])) + 1 for w in words)
        column = Column(name=name, kind="text", vocabulary=words, idf=idf)
        if config.encoder != "tokens":
            return column  # words that no other row holds have vectors too
    else:
        many = config.kind == "multi-categorical"
        rows_of = _rows_of(counts, lambda v: split_tokens(v, config.separator if many else None))
        few = not many and len(rows_of) <= FEW_CATEGORIES
        least = 1 if few else MIN_ROWS_OF_MANY if many else MIN_ROWS
        vocabulary = _most_frequent(rows_of, least, MAX_CATEGORIES)
        column = Column(
            name=name, kind=config.kind, separator=config.separator, vocabulary=vocabulary
        )
    return column if column.vocabulary else None


def _fit_scale(plain: Column, counts: Counter[Any]) -> Column:
    """Mean and standard deviation of the values as the encoder reads them, none cut off."""
    number = np.array([plain.number(v) for v in counts])
    weight = np.array(list(counts.values()), dtype=np.float64)
    mean = float(np.average(number, weights=weight))
    scale = float(np.sqrt(np.average((number - mean) ** 2, weights=weight)))
    return plain.model_copy(update={"mean": mean, "scale": scale if scale > 0 else 1.0})


def _rows_of(counts: Counter[Any], split: Callable[[Any], list[str]]) -> Counter[str]:
    rows_of: Counter[str] = Counter()
    for value, n_rows in counts.items():
        for token in set(split(value)):
            rows_of[token] += n_rows
    return rows_of


def _most_frequent(rows_of: Counter[str], least: int, most: int) -> tuple[str, ...]:
    kept = sorted((t for t, n in rows_of.items() if n >= least), key=lambda t: (-rows_of[t], t))
    return tuple(kept[:most])
