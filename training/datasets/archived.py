"""Merge a data set with the archive of the service's event log into a new data set.

Knows nothing of Redis: the archive is the Parquet directory that `recsvc archive` writes.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from polars.exceptions import PolarsError

from recsvc.contract.archive_lock import reading
from training.datasets.config import write_config
from training.datasets.dataset import ColumnConfig, Dataset
from training.datasets.store import interaction_pieces, new_directory, write_pieces
from training.errors import DataError

_COLUMNS: dict[str, Any] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "event": pl.String,
    "value": pl.Float64,
    "timestamp": pl.Int64,
    "event_id": pl.String,
    "log_ms": pl.Int64,
    "log_seq": pl.Int64,
}
_AFTER_THE_BASE = 1 << 40
"""Added to the order of archived events where the base data have an order instead of times."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What an archive adds."""

    events: int
    """Distinct events."""
    new_users: frozenset[str]
    """Users with events that the base data do not know, or that were erased from them."""
    last_ms: int
    """When the newest event arrived, milliseconds since 1970 UTC; 0 without events."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """All that an archive held at one moment."""

    events: pl.DataFrame
    erasures: frozenset[str]
    """Hashes of erased users' ids."""
    users: dict[str, dict[str, Any]]
    """Features by user."""
    items: dict[str, dict[str, Any]]
    """Features by item."""


def read_events(archive: Path) -> pl.DataFrame:
    """All archived events, each once, in the order of arrival.

    Raises:
        DataError: a file is unreadable; the message names the archive.
        ArchiveBusyError: a drain writes it and does not end.
    """
    with reading(archive):
        return _events(archive)


def _contents(archive: Path) -> _Contents:
    with reading(archive):
        return _Contents(
            _events(archive), _erasures(archive), _user_features(archive), _item_features(archive)
        )


def _events(archive: Path) -> pl.DataFrame:
    files = sorted(archive.glob("date=*/part-*.parquet"))
    if not files:
        return pl.DataFrame(schema=_COLUMNS)
    frame = _read(files, archive, list(_COLUMNS))
    once = frame.sort("log_ms", "log_seq").unique(
        ["user_id", "event_id"], keep="first", maintain_order=True
    )
    return once.unique(["user_id", "item_id", "event", "timestamp"], maintain_order=True)


def merge_archive(base: Dataset, archive: Path, out: Path) -> Archived:
    """Write base data and archive as one data set, in our layout, all of it or nothing.

    Features put at run time replace those of the base. An archived event that equals a base row
    in user, item, event and time is that row. Users who were erased lose their rows of the base;
    the archive itself holds only what they did afterwards.

    Args:
        base: the data set that the current model was trained on.
        archive: directory of the archive.
        out: directory to write.

    Raises:
        DataError: the archive is unreadable, or `out` cannot be written.
        ArchiveBusyError: a drain writes it and does not end.
    """
    archived = _contents(archive)
    events = archived.events
    timed = base.interactions.timestamp_E is not None
    erased = frozenset(u for u in base.user_ids if _erasure_hash(u) in archived.erasures)
    with new_directory(out) as aside:
        pieces = _aligned(_base_rows(base, timed, erased), _as_rows(events, base), timed)
        write_pieces(aside / "interactions.parquet", pieces)
        config = base.config
        users = _merge_features(
            "user_id", base.user_ids, base.users, archived.users, config.user_columns
        )
        if users is not None:
            users = users.filter(~pl.col("user_id").is_in(list(erased)))
        items = _merge_features(
            "item_id", base.item_ids, base.items, archived.items, config.item_columns
        )
        for name, frame in (("users", users), ("items", items)):
            if frame is not None:
                frame.write_parquet(aside / f"{name}.parquet")
        update = {
            "timestamp_unit": "ms" if timed else None,
            "missing_value": "allow" if base.interactions.value_E is not None else "refuse",
        }
        write_config(aside, base.config.model_copy(update=update))
    known = set(base.user_ids) - erased
    new_users = frozenset(u for u in events["user_id"].unique() if u not in known)
    return Archived(len(events), new_users, int(events["log_ms"].max() or 0))  # type: ignore[arg-type]  # an integer column


def _erasures(archive: Path) -> frozenset[str]:
    files = sorted(archive.glob("erasures/part-*.parquet"))
    return frozenset(_read(files, archive)["user_hash"]) if files else frozenset()


def _erasure_hash(user_id: str) -> str:
    """How the archive names an erased user."""
    return hashlib.sha256(b"recsvc-erasure:" + user_id.encode()).hexdigest()


def _read(files: list[Path], archive: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Parquet files of the archive, one after the other.

    Raises:
        DataError: one is unreadable; the message names the archive.
    """
    try:
        return pl.read_parquet(files, columns=columns, hive_partitioning=False)
    except (PolarsError, OSError) as exc:
        raise DataError(
            f"archive {archive}: a file is unreadable ({exc}); restore it or move it away"
        ) from exc


def _base_rows(base: Dataset, timed: bool, erased: frozenset[str]) -> Iterator[pl.DataFrame]:
    """The base's interactions, with their position as order where they have no time."""
    start = 0
    for piece in interaction_pieces(base):
        rows = piece
        if not timed:
            order = pl.int_range(start, start + len(piece), eager=True)
            rows = piece.with_columns(order.alias("order"))
        start += len(piece)
        yield rows.filter(~pl.col("user_id").is_in(list(erased))) if erased else rows


def _as_rows(events: pl.DataFrame, base: Dataset) -> pl.DataFrame:
    """Archived events in the columns of the base's interactions."""
    rows = events.select("user_id", "item_id", "value", "event", "timestamp")
    if base.interactions.timestamp_E is None:
        position = pl.int_range(pl.len(), dtype=pl.Int64) + _AFTER_THE_BASE
        rows = rows.sort("timestamp", maintain_order=True).with_columns(order=position)
    if base.interactions.value_E is None:
        rows = rows.drop("value")
    return rows


def _aligned(
    base: Iterator[pl.DataFrame], archived: pl.DataFrame, timed: bool
) -> Iterator[pl.DataFrame]:
    """All pieces with the same columns; rows of the archive that the base holds are left out."""
    schema: dict[str, Any] = {"user_id": pl.String, "item_id": pl.String}
    if "value" in archived.columns:
        schema["value"] = pl.Float32
    schema["event"] = pl.String
    schema["timestamp" if timed else "order"] = pl.Int64
    key = ["user_id", "item_id", "event", "timestamp"]
    for piece in base:
        absent = [pl.lit(None, dtype=t).alias(n) for n, t in schema.items() if n not in piece]
        full = piece.with_columns(absent).select([pl.col(n).cast(t) for n, t in schema.items()])
        if timed:
            archived = archived.join(full.select(key), on=key, how="anti", nulls_equal=True)
        yield full
    if len(archived):
        yield archived.select([pl.col(n).cast(t) for n, t in schema.items()])


def _user_features(archive: Path) -> dict[str, dict[str, Any]]:
    """Features by user; of a user the last row counts."""
    files = sorted(archive.glob("users/part-*.parquet"))
    if not files:
        return {}
    rows = _read(files, archive).sort("log_ms", "log_seq")
    return {row["user_id"]: orjson.loads(row["features"]) for row in rows.iter_rows(named=True)}


def _item_features(archive: Path) -> dict[str, dict[str, Any]]:
    """Features by item, hidden items left out; the newest file is the whole table."""
    files = sorted(archive.glob("items/items-*.parquet"))
    if not files:
        return {}
    rows = _read(files[-1:], archive)
    return {
        row["item_id"]: orjson.loads(row["features"])
        for row in rows.iter_rows(named=True)
        if row["features"] is not None
    }


def _merge_features(
    id_name: str,
    ids: list[str],
    frame: pl.DataFrame | None,
    changed: dict[str, dict[str, Any]],
    columns: Mapping[str, ColumnConfig],
) -> pl.DataFrame | None:
    """The base's feature rows with those put at run time in their place or behind.

    Where the base has no features, columns are taken from what was put, as text.
    """
    changed = {i: features for i, features in changed.items() if features}
    if frame is None and not changed:
        return None
    if frame is None:
        names = sorted({name for features in changed.values() for name in features})
        frame = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    base = frame.select(pl.Series(id_name, ids[: frame.height], dtype=pl.String), pl.all())
    kinds = {name: kind for name, kind in base.schema.items() if name != id_name}
    rows = [
        {id_name: i}
        | {
            name: _as_kind(f.get(name), kind, columns.get(name), f"{id_name} {i!r}, {name!r}")
            for name, kind in kinds.items()
        }
        for i, f in changed.items()
    ]
    new = pl.DataFrame(rows, schema={id_name: pl.String, **kinds})
    return pl.concat([base.filter(~pl.col(id_name).is_in(list(changed))), new])


def _as_kind(value: Any, kind: pl.DataType, column: ColumnConfig | None, where: str) -> Any:
    """A feature put at run time in the type that the base's column has.

    Raises:
        DataError: it cannot be; the message names the row, the column and the value.
    """
    separator = column.separator if column is not None else "|"
    if value is None:
        return None
    try:
        if isinstance(kind, pl.List):
            return value if isinstance(value, list) else str(value).split(separator)
        if kind == pl.String:
            return separator.join(map(str, value)) if isinstance(value, list) else str(value)
        if kind.is_integer():
            return int(value)
        if kind.is_float():
            return float(value)
        return datetime.fromisoformat(value) if kind.is_temporal() else value
    except (TypeError, ValueError) as exc:
        raise DataError(
            f"run-time feature of {where}: {value!r} does not fit the base's column ({kind}); "
            "put the item or user again with a value of that type"
        ) from exc
