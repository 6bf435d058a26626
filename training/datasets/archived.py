"""Merge a data set with the archive of the service's event log into a new data set.

Knows nothing of Redis: the archive is the Parquet directory that `recsvc archive` writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from polars.exceptions import PolarsError

from training.datasets.config import write_config
from training.datasets.dataset import Dataset
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
    """Users with events that the base data do not know."""


def read_events(archive: Path) -> pl.DataFrame:
    """All archived events, each once, in the order of arrival.

    Raises:
        DataError: a file is unreadable; the message names the archive.
    """
    files = sorted(archive.glob("date=*/part-*.parquet"))
    if not files:
        return pl.DataFrame(schema=_COLUMNS)
    try:
        frame = pl.read_parquet(files, columns=list(_COLUMNS), hive_partitioning=False)
    except (PolarsError, OSError) as exc:
        raise DataError(
            f"archive {archive}: a part file is unreadable ({exc}); restore it or move it away"
        ) from exc
    once = frame.sort("log_ms", "log_seq").unique(
        ["user_id", "event_id"], keep="first", maintain_order=True
    )
    return once.unique(["user_id", "item_id", "event", "timestamp"], maintain_order=True)


def merge_archive(base: Dataset, archive: Path, out: Path) -> Archived:
    """Write base data and archive as one data set, in our layout, all of it or nothing.

    Features put at run time replace those of the base. An archived event that equals a base row
    in user, item, event and time is that row.

    Args:
        base: the data set that the current model was trained on.
        archive: directory of the archive.
        out: directory to write.

    Raises:
        DataError: the archive is unreadable, or `out` cannot be written.
    """
    events = read_events(archive)
    rules = base.config.rules
    timed = base.interactions.timestamp_E is not None
    with new_directory(out) as aside:
        pieces = _aligned(interaction_pieces(base), _as_rows(events, base), timed)
        write_pieces(aside / "interactions.parquet", pieces)
        users = _merge_features(base.user_ids, base.users, _user_features(archive), "user_id")
        items = _merge_features(base.item_ids, base.items, _item_features(archive), "item_id")
        for name, frame in (("users", users), ("items", items)):
            if frame is not None:
                frame.write_parquet(aside / f"{name}.parquet")
        update = {
            "timestamp_unit": "ms" if timed else None,
            "missing_value": "allow" if rules.positive is not None else "refuse",
        }
        write_config(aside, base.config.model_copy(update=update))
    known = set(base.user_ids)
    return Archived(len(events), frozenset(u for u in events["user_id"].unique() if u not in known))


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
    rows = pl.read_parquet(files, hive_partitioning=False).sort("log_ms", "log_seq")
    return {row["user_id"]: orjson.loads(row["features"]) for row in rows.iter_rows(named=True)}


def _item_features(archive: Path) -> dict[str, dict[str, Any]]:
    """Features by item, hidden items left out; the newest file is the whole table."""
    files = sorted(archive.glob("items/items-*.parquet"))
    if not files:
        return {}
    rows = pl.read_parquet(files[-1], hive_partitioning=False)
    return {
        row["item_id"]: orjson.loads(row["features"])
        for row in rows.iter_rows(named=True)
        if row["features"] is not None
    }


def _merge_features(
    ids: list[str],
    frame: pl.DataFrame | None,
    changed: dict[str, dict[str, Any]],
    id_name: str,
) -> pl.DataFrame | None:
    """The base's feature rows with those put at run time in their place or behind."""
    changed = {i: features for i, features in changed.items() if features}
    if frame is None and not changed:
        return None
    if frame is None:
        rows = [{id_name: i, **features} for i, features in changed.items()]
        return pl.DataFrame(rows, infer_schema_length=None, strict=False)
    base = frame.select(pl.Series(id_name, ids[: frame.height], dtype=pl.String), pl.all())
    columns = {name: kind for name, kind in base.schema.items() if name != id_name}
    new = pl.DataFrame(
        [{id_name: i, **{c: f.get(c) for c in columns}} for i, f in changed.items()],
        schema={id_name: pl.String, **columns},
        strict=False,
    )
    return pl.concat([base.filter(~pl.col(id_name).is_in(list(changed))), new])
