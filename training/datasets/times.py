"""Timestamps of a file to milliseconds since 1970 UTC, and the unit they are written in.

Knows nothing of interactions. Numbers are seconds, milliseconds, microseconds or nanoseconds since
1970; text is such a number or ISO 8601 (without an offset: UTC).
"""

import polars as pl
from polars.datatypes import DataTypeClass

from training.datasets.dataset import TimestampUnit
from training.datasets.tables import Table
from training.errors import DataError

EARLIEST_MS = -2_208_988_800_000  # 1900-01-01
LATEST_MS = 7_258_118_400_000  # 2200-01-01
SAMPLE_ROWS = 100_000
_PER_MS: dict[TimestampUnit, float] = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
_ISO = "%Y-%m-%dT%H:%M:%S%.f%#z"


def guess_unit(table: Table, column: str) -> tuple[TimestampUnit, str | None]:
    """The unit of a column of timestamps, and how it was told from the others.

    Returns:
        The unit, and a sentence about the guess; None where the column's type says it.

    Raises:
        DataError: the column holds no timestamps.
    """
    dtype = table.frame.collect_schema()[column]
    if dtype.is_temporal():
        return "iso", None
    sample = table.collect(
        table.frame.select(pl.col(column)).drop_nulls().head(SAMPLE_ROWS)
    ).to_series()
    if dtype == pl.String:
        number = sample.str.strip_chars().cast(pl.Float64, strict=False).drop_nulls()
        if len(number) * 2 < len(sample):
            _require_iso(table, column, sample)
            return (
                "iso",
                f"timestamps in {column!r} are read as ISO 8601, UTC where no offset stands",
            )
        sample = number
    elif not dtype.is_numeric():
        raise DataError(
            f"{table.path}: column {column!r} holds {dtype}, not timestamps; "
            "store numbers since 1970, ISO 8601 text or a date-time type"
        )
    return _from_magnitude(column, sample.cast(pl.Float64))


def to_ms(column: str, dtype: pl.DataType | DataTypeClass, unit: TimestampUnit) -> pl.Expr:
    """Milliseconds since 1970 UTC, Int64; null where the value is no timestamp of that unit."""
    raw = pl.col(column)
    if dtype.is_temporal():
        return raw.cast(pl.Datetime("ms")).dt.epoch("ms")
    if unit == "iso":
        return iso_to_ms(raw.cast(pl.String))
    if dtype.is_integer():
        whole = raw.cast(pl.Int64)
        return whole * 1000 if unit == "s" else whole // int(_PER_MS[unit])
    number = (raw.str.strip_chars() if dtype == pl.String else raw).cast(pl.Float64, strict=False)
    return (number / _PER_MS[unit]).round().cast(pl.Int64, strict=False)


def iso_to_ms(text: pl.Expr) -> pl.Expr:
    """ISO 8601 text (date, or date and time with or without an offset) to milliseconds."""
    full = text.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
    full = full.str.replace("Z$", "+00:00")
    full = pl.when(full.str.len_chars() == 10).then(full + "T00:00").otherwise(full)
    full = full.str.replace(r"^(.{10}T\d\d:\d\d)($|[+-])", "${1}:00${2}")
    full = pl.when(full.str.contains("T.*[+-]")).then(full).otherwise(full + "+00:00")
    return full.str.to_datetime(_ISO, strict=False, time_unit="ms").dt.epoch("ms")


def _from_magnitude(column: str, sample: pl.Series) -> tuple[TimestampUnit, str]:
    finite = sample.filter(sample.is_finite())
    middle = float(finite.abs().median() or 0.0) if len(finite) else 0.0  # type: ignore[arg-type]  # a median of floats
    unit: TimestampUnit = "s"
    for larger, limit in (("ms", 1e11), ("us", 1e14), ("ns", 1e17)):
        if middle >= limit:
            unit = larger  # type: ignore[assignment]  # the literals above are units
    return unit, (
        f"timestamps in {column!r} are read as {unit} since 1970 by their size (median "
        f'{middle:.0f}); set interactions.timestamp_unit = "ms" (or s, us, ns) where that is wrong'
    )


def _require_iso(table: Table, column: str, sample: pl.Series) -> None:
    frame = pl.DataFrame({"text": sample})
    read = frame.select(iso_to_ms(pl.col("text"))).to_series()
    if read.null_count() * 2 > len(read):
        example = sample.filter(read.is_null())[0]
        raise DataError(
            f"{table.path}: column {column!r} holds {example!r}, which is neither a number since "
            "1970 nor ISO 8601; write 2026-01-31T12:00:00Z"
        )
