"""The users file or the items file: ids checked, feature columns typed and their kinds decided.

Knows nothing of interactions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from training.datasets.columns import find_id, nearest, plain
from training.datasets.config import CONFIG_FILE
from training.datasets.dataset import ColumnConfig, OnBadRow
from training.datasets.infer import infer_kind, title_column, typed_features
from training.datasets.rows import (
    Check,
    as_number,
    id_checks,
    id_text,
    keep_good,
    number_checks,
    problem,
    shape_checks,
)
from training.datasets.tables import ROW, Table
from training.datasets.times import iso_to_ms
from training.errors import DataError

_ID = "_id"
_NEVER = ("userid", "itemid")
"""Names that are no feature, whatever they hold: an id can encode when a user joined."""


@dataclass(frozen=True, slots=True)
class Side:
    """What a users or items file holds; empty where there is none."""

    ids: pl.Series = field(default_factory=lambda: pl.Series(_ID, [], dtype=pl.String))
    features: pl.DataFrame | None = None
    """One row an id, without the id."""
    kinds: dict[str, ColumnConfig] = field(default_factory=dict)
    title: str | None = None

    def all_ids(self, interacted: pl.Series) -> list[str]:
        """Ids with interactions, then those that only this file knows, ascending."""
        alone = self.ids.filter(~self.ids.is_in(interacted.implode())).sort()
        return [*interacted.to_list(), *alone.to_list()]

    def aligned(self, ids: list[str]) -> pl.DataFrame | None:
        """Feature rows in the order of `ids`; null where the file has no row."""
        if self.features is None:
            return None
        rows = self.features.with_columns(self.ids.alias(_ID))
        wanted = pl.DataFrame({_ID: ids}, schema={_ID: pl.String})
        return wanted.join(rows, on=_ID, how="left", maintain_order="left").drop(_ID)


def read_side(
    table: Table | None,
    role: str,
    declared: Mapping[str, ColumnConfig],
    title: str | None,
    on_bad_row: OnBadRow,
    skipped: dict[str, int],
    guesses: list[str],
) -> Side:
    """Read a users or items file.

    Args:
        role: `user_id` or `item_id`.
        declared: kinds that dataset.toml or the format gives.
        title: the title column that dataset.toml names.
        skipped: bad rows left out are counted here.
        guesses: a sentence about each kind that was guessed goes here.

    Raises:
        DataError: a bad row (unless skipped), a declared column that is not there, an id twice.
    """
    if table is None:
        return Side()
    name = find_id(role, table.columns, table.path)
    features = [c for c in table.columns if c != name and plain(c) not in _NEVER]
    for wanted in [*declared, *([title] if title else [])]:
        _require(wanted, features, table)
    frame = _read(table, name, features, declared, on_bad_row, skipped)
    typed = typed_features(frame.select(features), is_text=table.is_text)
    typed = typed.with_columns(
        [typed[c].cast(pl.Float64, strict=False) for c in _declared_numbers(typed, declared)]
    )
    kinds = dict(declared)
    for column in features:
        if column not in declared:
            kinds[column], why = infer_kind(typed[column])
            guesses.append(f"{table.path.name}: {column!r} is taken as {_kind(kinds[column], why)}")
    if title is None and role == "item_id":
        title = title_column(features, kinds)
    return Side(frame[_ID], typed, {c: kinds[c] for c in features}, title)


def _read(
    table: Table,
    name: str,
    features: Sequence[str],
    declared: Mapping[str, ColumnConfig],
    on_bad_row: OnBadRow,
    skipped: dict[str, int],
) -> pl.DataFrame:
    schema = table.frame.collect_schema()
    text = id_text(name, schema[name], table)
    checks = [*shape_checks(table), *id_checks(name, text, schema[name])]
    for column in features:
        if column in declared:
            checks += _declared_checks(column, declared[column].kind, table)
    query = table.frame.select(ROW, problem(checks), text.alias(_ID), *features)
    frame = keep_good(table, table.collect(query), checks, on_bad_row, skipped)
    repeated = Check(
        name,
        f"{name} of an earlier row",
        "keep one row of each id",
        ~pl.col(_ID).is_first_distinct(),
    )
    return keep_good(
        table, frame.with_columns(problem([repeated])), [repeated], on_bad_row, skipped
    )


def _declared_checks(column: str, kind: str, table: Table) -> list[Check]:
    """What can be wrong with a value whose kind dataset.toml gives; missing is never wrong."""
    dtype = table.frame.collect_schema()[column]
    known = pl.col(column).is_not_null()
    if dtype == pl.String:
        known &= ~pl.col(column).str.strip_chars().is_in(("", "NA", "NaN", "nan", "null", "None"))
    if kind == "numeric":
        number = as_number(column, dtype, table)
        checks = number_checks(column, number, may_be_missing=True)
        return [Check(c.column, c.reason, c.remedy, c.is_bad & known) for c in checks]
    if kind == "datetime" and dtype == pl.String:
        bad = known & iso_to_ms(pl.col(column)).is_null()
        return [Check(column, "not a date", "write ISO 8601 (2026-01-31)", bad)]
    return []


def _declared_numbers(typed: pl.DataFrame, declared: Mapping[str, ColumnConfig]) -> list[str]:
    return [
        c
        for c in typed.columns
        if c in declared
        and declared[c].kind == "numeric"
        and typed[c].dtype in (pl.String, pl.Boolean)
    ]


def _require(wanted: str, features: Sequence[str], table: Table) -> None:
    if wanted in features:
        return
    near = nearest(wanted, features)
    hint = f"did you mean {near!r}?" if near else f"it has: {', '.join(features) or 'none'}"
    toml = table.path.parent / CONFIG_FILE
    raise DataError(f"{toml}: column {wanted!r} is not in {table.path.name}; {hint}")


def _kind(config: ColumnConfig, why: str) -> str:
    what = "nothing to learn from (ignored)" if config.kind == "ignore" else config.kind
    return f"{what}: {why}"
