"""Feature columns of users or items as blocks that linear maps and kernels can weigh one by one.

Knows nothing of ratings. Built on the shared feature schema, with two additions that a kernel
needs: a number becomes a row of overlapping hats over its training quantiles, so that near values
are alike; and a year in parentheses at the end of a text ("Heat (1995)") becomes such a number.

Shape legend: R rows (users or items), W positions of a block, K knots.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_matrix

from recsvc.contract.schema import Column
from training.datasets import encode, fit_schema
from training.datasets.dataset import ColumnConfig

_YEAR_AT_END = re.compile(r"\((\d{4})\)\s*$")
_MOST_HAVE_IT = 0.8
_KNOTS = 9


@dataclass(frozen=True, slots=True)
class Blocks:
    """One matrix a feature column; rows of unit length, or zero where the value is missing."""

    n_rows: int
    names: tuple[str, ...]
    matrices: tuple[csr_matrix, ...]
    """(R, W) each."""

    def stacked(self) -> csr_matrix:
        """All blocks side by side, (R, sum of W); no column where there is no feature."""
        if not self.matrices:
            return csr_matrix((self.n_rows, 0))
        return csr_matrix(sparse.hstack(self.matrices, format="csr"))


def year_of(text: object) -> int | None:
    """The year in parentheses at the end of a text."""
    found = _YEAR_AT_END.search(text) if isinstance(text, str) else None
    return int(found[1]) if found else None


def with_years(
    frame: pl.DataFrame, columns: Mapping[str, ColumnConfig], rows: NDArray[np.bool_]
) -> tuple[pl.DataFrame, dict[str, ColumnConfig]]:
    """Add a numeric column for every text column that nearly always ends in a year.

    Args:
        frame: (R, ...) feature rows.
        columns: the kind of each column.
        rows: (R,) training rows, which decide whether it nearly always does.
    """
    found = dict(columns)
    for name, config in columns.items():
        if config.kind != "text" or name not in frame:
            continue
        years = [year_of(value) for value in frame[name].to_list()]
        known = np.array([year is not None for year in years], dtype=np.bool_)
        if rows.any() and known[rows].mean() >= _MOST_HAVE_IT:
            added = f"{name} (year)"
            frame = frame.with_columns(pl.Series(added, years, dtype=pl.Float64))
            found[added] = ColumnConfig(kind="numeric")
    return frame, found


def blocks(
    frame: pl.DataFrame | None,
    columns: Mapping[str, ColumnConfig],
    rows: NDArray[np.bool_],
) -> Blocks:
    """Encode feature rows, with vocabularies, weights and knots from training rows alone.

    Args:
        frame: up to R feature rows; None: no features.
        columns: the kind of each column.
        rows: (R,) training rows.
    """
    n_rows = len(rows)
    if frame is None:
        return Blocks(n_rows, (), ())
    known_rows = rows[: len(frame)]
    frame, columns = with_years(frame, columns, known_rows)
    schema = fit_schema(frame, columns, known_rows)
    encoded = encode(frame, schema, n_rows)
    names, matrices = [], []
    for column, _, first in schema.offsets():
        if column.kind in ("numeric", "datetime"):
            own = _hats(_numbers(column, frame[column.name].to_list(), n_rows), rows)
        else:
            own = csr_matrix(encoded[:, first : first + column.width], dtype=np.float64)
        names.append(column.name)
        matrices.append(_unit_rows(own))
    return Blocks(n_rows, tuple(names), tuple(matrices))


def _numbers(column: Column, values: Sequence[Any], n_rows: int) -> NDArray[np.float64]:
    """A numeric or datetime column as the schema reads it, NaN where missing, (R,)."""
    number_R = np.full(n_rows, np.nan)
    for row, value in enumerate(values):
        if column.encode(value):
            number_R[row] = column.number(value)
    return number_R


def _hats(value_R: NDArray[np.float64], rows: NDArray[np.bool_]) -> csr_matrix:
    """Piecewise linear weights of the nearest two quantiles of the training rows, (R, K)."""
    present_R = ~np.isnan(value_R)
    knots_K = np.unique(np.quantile(value_R[present_R & rows], np.linspace(0.0, 1.0, _KNOTS)))
    value_R = np.nan_to_num(value_R)
    identity_KK = np.eye(len(knots_K))
    hats_RK = np.stack([np.interp(value_R, knots_K, row) for row in identity_KK], axis=1)
    return csr_matrix(hats_RK * present_R[:, None])


def _unit_rows(matrix: csr_matrix) -> csr_matrix:
    length_R = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))[:, 0])
    return csr_matrix(sparse.diags(1.0 / np.maximum(length_R, 1e-12)) @ matrix)
