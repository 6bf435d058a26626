"""Interaction rows of a file, typed and checked: every bad row is found and refused, or skipped.

Knows nothing of feature columns or of codes. A check is an expression over the whole column, so
the file streams through; only the columns that play a role are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from training.datasets.columns import InteractionColumns
from training.datasets.dataset import DatasetConfig, OnBadRow
from training.datasets.tables import MORE, ROW, Table
from training.datasets.times import EARLIEST_MS, LATEST_MS, to_ms
from training.errors import DataError

MAX_ID_CHARS = 256
NO_ID = ("", "nan", "NaN", "NAN", "null", "NULL", "None")
"""What exporters write where there is no id."""
BLANK = "blank line"

_PROBLEM = "_problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One way in which a row can be bad."""

    column: str | None
    """The file's column that is wrong; None: the row as a whole."""
    reason: str
    """What is wrong, as counted by `--on-bad-row skip`."""
    remedy: str
    is_bad: pl.Expr


def id_text(name: str, dtype: pl.DataType, table: Table) -> pl.Expr:
    """A column of ids as text. Whole floats lose their `.0`, as ids with gaps get one in pandas.

    Raises:
        DataError: the column's type cannot hold ids.
    """
    raw = pl.col(name)
    if dtype == pl.String:
        return raw.str.strip_chars() if table.is_text else raw
    if dtype.is_float():
        whole = raw.cast(pl.Int64, strict=False)
        return pl.when(whole == raw).then(whole).cast(pl.String)
    if dtype.is_integer() or dtype in (pl.Categorical, pl.Enum):
        return raw.cast(pl.String)
    raise DataError(
        f"{table.path}: column {name!r} holds {dtype}, not ids; store strings or whole numbers"
    )


def id_checks(name: str, text: pl.Expr, dtype: pl.DataType) -> list[Check]:
    """What can be wrong with an id."""
    missing = pl.col(name).is_null() | text.is_in(NO_ID)
    checks = [Check(name, "no id", "give the row an id", missing)]
    if dtype.is_float():
        checks.append(Check(name, "not a whole number", "store ids as text", text.is_null()))
    long = text.str.len_chars() > MAX_ID_CHARS
    broken = text.str.contains_any(["\n", "\r", "\0"])
    checks.append(Check(name, f"longer than {MAX_ID_CHARS} characters", "shorten the id", long))
    checks.append(Check(name, "line break in an id", "close the quote", broken))
    return checks


def shape_checks(table: Table) -> list[Check]:
    """What can be wrong with a row of a text file as a whole."""
    if not table.is_text:
        return []
    blank = pl.all_horizontal([pl.col(c).is_null() for c in (*table.columns, MORE)])
    remedy = "remove the extra fields, or quote a field that holds the separator"
    return [
        Check(None, BLANK, "remove the line", blank),
        Check(None, "more fields than the header", remedy, pl.col(MORE).is_not_null()),
    ]


def number_checks(name: str, number: pl.Expr, *, may_be_missing: bool) -> list[Check]:
    """What can be wrong with a number."""
    raw = pl.col(name)
    checks = [
        Check(name, "not a number", "write a plain number", raw.is_not_null() & number.is_null()),
        Check(name, "infinite", "write a finite number", number.is_infinite()),
    ]
    if not may_be_missing:
        missing = raw.is_null() | number.is_nan()
        checks.insert(0, Check(name, "missing or NaN", "give the row a value", missing))
    return checks


def read_rows(
    table: Table,
    columns: InteractionColumns,
    config: DatasetConfig,
    on_bad_row: OnBadRow,
    skipped: dict[str, int],
) -> pl.DataFrame:
    """Read an interactions file.

    Args:
        skipped: bad rows that were left out are counted here, by reason.

    Returns:
        Columns `_row`, user_id, item_id and, where the file has them, value (Float32; NaN where
        missing), event, time_ms, order. Rows in the order of the file.

    Raises:
        DataError: a bad row (unless they are skipped), or no row is left.
    """
    typed, checks = _typed(table, columns, config)
    frame = table.frame.select(ROW, problem(checks), **typed)
    return keep_good(table, table.collect(frame), checks, on_bad_row, skipped)


def _typed(
    table: Table, columns: InteractionColumns, config: DatasetConfig
) -> tuple[dict[str, pl.Expr], list[Check]]:
    """Each role's values in their type, and what can be wrong with them."""
    schema = table.frame.collect_schema()
    checks = shape_checks(table)
    typed: dict[str, pl.Expr] = {}
    for role, name in (("user_id", columns.user_id), ("item_id", columns.item_id)):
        typed[role] = id_text(name, schema[name], table)
        checks += id_checks(name, typed[role], schema[name])
    if columns.value is not None:
        number = as_number(columns.value, schema[columns.value], table)
        allowed = config.missing_value == "allow"
        checks += number_checks(columns.value, number, may_be_missing=allowed)
        typed["value"] = number.cast(pl.Float32).fill_null(float("nan"))
    if columns.event is not None:
        event = pl.col(columns.event).cast(pl.String).str.strip_chars()
        typed["event"] = pl.when(event != "").then(event)
    if columns.timestamp is not None and config.timestamp_unit is not None:
        typed["time_ms"] = to_ms(
            columns.timestamp, schema[columns.timestamp], config.timestamp_unit
        )
        checks += _time_checks(columns.timestamp, typed["time_ms"], config.timestamp_unit)
    if columns.order is not None:
        typed["order"] = as_number(columns.order, schema[columns.order], table)
        checks += number_checks(columns.order, typed["order"], may_be_missing=False)
    return typed, checks


def as_number(name: str, dtype: pl.DataType, table: Table) -> pl.Expr:
    """A column as Float64; null where it is no number.

    Raises:
        DataError: the column's type holds no numbers.
    """
    raw = pl.col(name)
    if dtype == pl.String:
        return raw.str.strip_chars().cast(pl.Float64, strict=False)
    if dtype.is_numeric() or dtype == pl.Boolean:
        return raw.cast(pl.Float64)
    raise DataError(f"{table.path}: column {name!r} holds {dtype}, not numbers; store numbers")


def problem(checks: Sequence[Check]) -> pl.Expr:
    """The position of the first check that a row fails; null in a good row."""
    failed = [pl.when(c.is_bad).then(pl.lit(i, pl.UInt8)) for i, c in enumerate(checks)]
    return pl.coalesce([*failed, pl.lit(None, pl.UInt8)]).alias(_PROBLEM)


def keep_good(
    table: Table,
    frame: pl.DataFrame,
    checks: Sequence[Check],
    on_bad_row: OnBadRow,
    skipped: dict[str, int],
) -> pl.DataFrame:
    """Leave out bad rows, or raise for the first one.

    Raises:
        DataError: a bad row (unless they are skipped), or no row is left.
    """
    bad = frame.filter(pl.col(_PROBLEM).is_not_null()).select(ROW, _PROBLEM)
    blank = [i for i, c in enumerate(checks) if c.reason == BLANK]
    wrong = bad.filter(~pl.col(_PROBLEM).is_in(blank))
    if len(wrong) and on_bad_row == "fail":
        row, position = wrong.row(0)
        raise bad_row(table, row, checks[position], len(wrong) - 1)
    for (position,), rows in bad.group_by(_PROBLEM):
        check = checks[int(position)]
        reason = f"{table.path.name}: {check.reason}" + (
            f" in {check.column!r}" * bool(check.column)
        )
        skipped[reason] = skipped.get(reason, 0) + len(rows)
    good = frame if bad.is_empty() else frame.filter(pl.col(_PROBLEM).is_null())
    if good.is_empty():
        left = "no good row is left" if len(wrong) else "it has no rows"
        raise DataError(f"{table.path}: {left}; export the file again")
    return good.drop(_PROBLEM)


def bad_row(table: Table, row: int, check: Check, others: int) -> DataError:
    """The error for a bad row: place, column, value, remedy."""
    value = ""
    if check.column is not None:
        raw = table.collect(table.frame.filter(pl.col(ROW) == row).select(check.column)).item()
        value = f", column {check.column!r}, value {_shown(raw)}"
    more = f" ({others} more bad rows)" if others > 0 else ""
    return DataError(
        f"{table.place(row)}{value}: {check.reason}{more}; {check.remedy}, "
        "or leave bad rows out with --on-bad-row skip"
    )


def _time_checks(name: str, time_ms: pl.Expr, unit: str) -> list[Check]:
    form = "ISO 8601 (2026-01-31T12:00:00Z)" if unit == "iso" else f"a number ({unit} since 1970)"
    outside = (time_ms < EARLIEST_MS) | (time_ms > LATEST_MS)
    return [
        Check(name, "no timestamp", "give the row one", pl.col(name).is_null()),
        Check(name, "not a timestamp", f"write {form}", time_ms.is_null()),
        Check(
            name,
            "a time outside 1900 to 2200",
            f"correct it (the column is read as {unit}; dataset.toml: interactions.timestamp_unit)",
            outside,
        ),
    ]


def _shown(value: object) -> str:
    text = repr(value) if value is not None else "nothing"
    return text if len(text) <= 80 else f"{text[:77]}..."
