"""Write a data set in our layout, all of it or nothing.

Knows nothing of other formats. Interactions are written in pieces, so that a large data set never
stands in memory with its ids as text.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.datasets.config import write_config
from training.datasets.dataset import Dataset, Interactions
from training.errors import DataError

PIECE_ROWS = 1 << 20


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A directory beside `out` that becomes `out` when the block ends well, and else is removed.

    Raises:
        DataError: `out` exists and is not empty, or cannot be written.
    """
    refuse_existing(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as exc:
        raise DataError(f"{out} cannot be written: {exc}; choose another directory") from exc
    try:
        yield aside
        aside.chmod(0o755)
        _sync(aside)
        if out.exists():
            out.rmdir()
        aside.replace(out)
    except OSError as exc:
        raise DataError(f"{out} cannot be written: {exc}; nothing was changed") from exc
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def refuse_existing(out: Path) -> None:
    """Raise DataError where something stands at `out` already."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"{out} exists already; remove it or choose another directory for --out")


def write_dataset(dataset: Dataset, out: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a data set so that `load` reads back an equal one.

    Args:
        notes: further text files, by name.

    Raises:
        DataError: `out` exists and is not empty, or cannot be written.
    """
    with new_directory(out) as aside:
        write_pieces(aside / "interactions.parquet", interaction_pieces(dataset))
        for name, id_name, ids, frame in (
            ("users", "user_id", dataset.user_ids, dataset.users),
            ("items", "item_id", dataset.item_ids, dataset.items),
        ):
            if frame is not None:
                id_column = pl.Series(id_name, ids, dtype=pl.String)
                frame.select(id_column, pl.all()).write_parquet(aside / f"{name}.parquet")
        for name, text in (notes or {}).items():
            (aside / name).write_text(text, encoding="utf-8")
        in_ms = dataset.interactions.timestamp_E is not None
        unit = {"timestamp_unit": "ms" if in_ms else None}
        write_config(aside, dataset.config.model_copy(update=unit))


def write_pieces(path: Path, frames: Iterable[pl.DataFrame]) -> None:
    """Write frames of one schema to one Parquet file, one after the other."""
    writer: pq.ParquetWriter | None = None
    try:
        for frame in frames:
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def interaction_pieces(dataset: Dataset) -> Iterator[pl.DataFrame]:
    """Interactions with ids as text, in the layout's columns, in the order of the data set."""
    rows = dataset.interactions
    user_ids = pl.Series(dataset.user_ids, dtype=pl.String)
    item_ids = pl.Series(dataset.item_ids, dtype=pl.String)
    event_names = pl.Series(rows.event_names, dtype=pl.String)
    order_E = _order(rows) if rows.timestamp_E is None and rows.has_order else None
    for start in range(0, len(rows), PIECE_ROWS):
        piece = slice(start, start + PIECE_ROWS)
        columns = {
            "user_id": user_ids.gather(rows.user_E[piece]),
            "item_id": item_ids.gather(rows.item_E[piece]),
        }
        if rows.value_E is not None:
            columns["value"] = pl.Series(rows.value_E[piece], nan_to_null=True)
        if rows.event_E is not None:
            code = pl.Series(rows.event_E[piece])
            columns["event"] = event_names.gather(code.set(code < 0, None))
        if rows.timestamp_E is not None:
            columns["timestamp"] = pl.Series(rows.timestamp_E[piece])
        if order_E is not None:
            columns["order"] = pl.Series(order_E[piece])
        yield pl.DataFrame(columns)


def _order(rows: Interactions) -> NDArray[np.int64]:
    """Position of each row within its user."""
    position_E = np.arange(len(rows), dtype=np.int64)
    first_E = np.r_[True, rows.user_E[1:] != rows.user_E[:-1]]
    return position_E - np.maximum.accumulate(np.where(first_E, position_E, 0))


def _sync(directory: Path) -> None:
    """Have the disk hold every file before the directory gets its name."""
    for path in [*directory.iterdir(), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
