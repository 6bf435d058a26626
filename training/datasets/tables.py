"""One file as a lazy table: Parquet, or text with a separator, plus where each row came from.

Knows nothing of roles, rules or features. Every table has a column `_row` (0, 1, ... in the
order of the file). Text tables hold strings alone, and `_more` is not null in a row with more
fields than the header.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from training.errors import DataError

ROW = "_row"
MORE = "_more"


@dataclass(frozen=True, slots=True)
class Table:
    """A file that is not read yet."""

    path: Path
    frame: pl.LazyFrame
    columns: tuple[str, ...]
    """The file's own columns, in its order."""
    is_text: bool
    first_line: int = 1
    """Line of the row 0 (text), or 1 (Parquet rows are counted from 1)."""

    def place(self, row: int) -> str:
        """Where a row stands in the file, as a person counts it."""
        if not self.is_text:
            return f"{self.path}, row {row + 1}"
        return f"{self.path}, line {self.first_line + row + self._line_breaks_before(row)}"

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Read what a query over `frame` needs, streaming.

        Raises:
            DataError: the file is damaged.
        """
        try:
            return frame.collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as exc:
            raise damaged(self.path, exc) from exc

    def _line_breaks_before(self, row: int) -> int:
        """Line breaks inside quoted fields above a row: they make lines run ahead of rows."""
        breaks = [pl.col(c).str.count_matches("\n", literal=True).sum() for c in self.columns]
        above = self.frame.filter(pl.col(ROW) < row).select(pl.sum_horizontal(breaks).alias("n"))
        return int(self.collect(above).item() or 0)


def open_parquet(path: Path) -> Table:
    """Open a Parquet file.

    Raises:
        DataError: it is not Parquet, or cut off.
    """
    try:
        frame = pl.scan_parquet(path, glob=False)
        names = tuple(frame.collect_schema().names())
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise damaged(path, exc) from exc
    if not names:
        raise DataError(f"{path} has no columns; write it again")
    return Table(path, frame.with_row_index(ROW), names, is_text=False)


def open_csv(path: Path) -> Table:
    """Open a text file with a header, whose separator is a comma, a tab, `;` or `|`.

    Raises:
        DataError: it is empty, or not text.
    """
    check_not_empty(path)
    with path.open("rb") as stream:
        first_line = stream.readline(1 << 16)
    separators = (",", "\t", ";", "|")
    return open_text(path, separator=max(separators, key=lambda s: first_line.count(s.encode())))


def open_text(
    path: Path, *, separator: str, quoted: bool = True, columns: Sequence[str] | None = None
) -> Table:
    """Open a text file, UTF-8, with a header unless `columns` names its fields.

    Raises:
        DataError: it is empty, or not text.
    """
    check_not_empty(path)
    names = tuple(columns) if columns is not None else _header(path, separator, quoted)
    frame = pl.scan_csv(
        path,
        glob=False,
        has_header=False,
        skip_rows=0 if columns is not None else 1,
        separator=separator,
        quote_char='"' if quoted else None,
        schema={**dict.fromkeys(names, pl.String), MORE: pl.String},
        missing_columns="insert",
        truncate_ragged_lines=True,
        row_index_name=ROW,
    )
    return Table(path, frame, names, is_text=True, first_line=1 if columns is not None else 2)


def open_lines(path: Path, *, separator: str, columns: Sequence[str]) -> Table:
    """Open a text file without header whose separator has several characters (`::`).

    Raises:
        DataError: it is empty, or not text.
    """
    check_not_empty(path)
    source: Path | io.BytesIO = path
    if _first_line(path, lambda text: not _is_utf8(text)) is not None:
        source = io.BytesIO(path.read_bytes().decode("latin-1").encode())
    fields = pl.col("line").str.split(separator)
    frame = (
        pl.scan_lines(source, row_index_name=ROW)
        .with_columns(fields.alias("fields"))
        .select(
            ROW,
            *[
                pl.col("fields").list.get(i, null_on_oob=True).alias(c)
                for i, c in enumerate(columns)
            ],
            pl.col("fields").list.get(len(columns), null_on_oob=True).alias(MORE),
        )
    )
    return Table(path, frame, tuple(columns), is_text=True)


def damaged(path: Path, exc: Exception) -> DataError:
    """The error for a file that cannot be read as what its name says."""
    if isinstance(exc, FileNotFoundError):
        return DataError(f"{path} does not exist; check the path")
    kind = "Parquet" if path.suffix == ".parquet" else "UTF-8 text"
    reason = str(exc).strip().split("\n")[0]
    where, remedy = "", "the file is damaged, cut off or of another format; copy or export it again"
    if kind != "Parquet":
        if (line := _first_line(path, lambda text: not _is_utf8(text))) is not None:
            where = f", line {line}"
        elif (line := _first_line(path, lambda text: text.count(b'"') % 2 == 1)) is not None:
            where, remedy = f", line {line}", "a quote is opened and not closed; close or remove it"
    return DataError(f"{path}{where} is not readable as {kind} ({reason}): {remedy}")


def check_not_empty(path: Path) -> None:
    """Raise DataError where a file is missing or has no byte."""
    try:
        size_bytes = path.stat().st_size
    except OSError as exc:
        raise damaged(path, exc) from exc
    if size_bytes == 0:
        raise DataError(f"{path} is empty (0 bytes); copy or export it again")


def _header(path: Path, separator: str, quoted: bool) -> tuple[str, ...]:
    try:
        head = pl.read_csv(
            path,
            glob=False,
            n_rows=1,
            has_header=False,
            infer_schema=False,
            truncate_ragged_lines=True,
            separator=separator,
            quote_char='"' if quoted else None,
        )
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise damaged(path, exc) from exc
    names = [name or f"unnamed_{i}" for i, name in enumerate(head.row(0))]
    if not all(name.isprintable() for name in names):
        raise damaged(path, ValueError("its header holds control characters"))
    repeated = sorted({n for n in names if names.count(n) > 1})
    if repeated:
        raise DataError(f"{path}: column {repeated[0]!r} occurs twice; rename or remove one")
    return tuple(names)


def _first_line(path: Path, is_bad: Callable[[bytes], bool]) -> int | None:
    """The first bad line of a text file, from 1."""
    try:
        with path.open("rb") as stream:
            return next((n for n, line in enumerate(stream, start=1) if is_bad(line)), None)
    except OSError:
        return None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
