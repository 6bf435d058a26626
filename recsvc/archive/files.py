"""The archive's files: written whole, forced to the disk, rewritten after an erasure.

Knows nothing of Redis; `drain` says what lies where. Needs pyarrow, imported on first use.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from recsvc.contract.archive_lock import writing
from recsvc.errors import ArchiveError
from recsvc.state.items import Features
from recsvc.state.keys import erasure_hash
from recsvc.state.log import LogEntry

_UNFINISHED = ".writing-"
_ORDER = {"log_ms": "int64", "log_seq": "int64"}
_EVENT_COLUMNS = {
    "user_id": "string",
    "item_id": "string",
    "event": "string",
    "value": "float64",
    "timestamp": "int64",
    "event_id": "string",
    "recommendation_id": "string",
    **_ORDER,
}
_USER_COLUMNS = {"user_id": "string", "features": "string", **_ORDER}
_ERASURE_COLUMNS = {"user_hash": "string", **_ORDER}
_ITEM_COLUMNS = {"item_id": "string", "features": "string"}

_Row = dict[str, Any]


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """The directory, made where missing, to ourselves and free of what a killed drain left.

    Raises:
        ArchiveError: another process uses it, or pyarrow is not installed.
        OSError: it cannot be made.
    """
    _pyarrow()
    _make_directory(out)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ArchiveError(
                f"archive {out} is being written by another process; wait for it or stop it"
            ) from exc
        for unfinished in out.rglob(f"{_UNFINISHED}*"):
            unfinished.unlink()
        yield


def write_batch(out: Path, batch: Sequence[LogEntry], consumer: str) -> None:
    """Write a batch's events, features and erasures, and apply the erasures to all files.

    Readers see all of it or nothing.

    Args:
        batch: at least one entry.
        consumer: becomes part of the files' name.

    Raises:
        ArchiveBusyError: somebody reads the archive and does not end.
        OSError: it cannot be written; files that are complete stay.
    """
    first = batch[0]
    name = f"part-{first.ms}-{first.partition}-{first.sequence}-{consumer}.parquet"
    tables: dict[str, list[_Row]] = {}
    for e in batch:
        row: _Row = {"log_ms": e.ms, "log_seq": e.sequence}
        if e.kind == "event":
            day = datetime.fromtimestamp(e.ms / 1000, UTC).strftime("%Y-%m-%d")
            row |= _event(orjson.loads(e.data)) | {"user_id": e.user}
            tables.setdefault(f"date={day}", []).append(row)
        elif e.kind == "features":
            row |= {"user_id": e.user, "features": e.data.decode()}
            tables.setdefault("users", []).append(row)
        else:
            tables.setdefault("erasures", []).append(row | {"user_hash": e.user})
    columns = {"users": _USER_COLUMNS, "erasures": _ERASURE_COLUMNS}
    with writing(out):
        for folder, rows in tables.items():
            _write(out / folder / name, rows, columns.get(folder, _EVENT_COLUMNS))
        if "erasures" in tables:
            _apply_erasures(out, tables["erasures"])


def _event(stored: _Row) -> _Row:
    """A stored event; one that was ahead of its arrival happened, for readers, when it arrived."""
    arrived_ms = stored.pop("arrived_ms", None)
    return stored if arrived_ms is None else stored | {"timestamp": arrived_ms}


def write_items(out: Path, position: str, items: Mapping[str, Features]) -> int:
    """Write all run-time items, unless they are written already; older files go.

    Args:
        position: of the snapshot in the stream of changes.
        items: features by item id; None hides the item.

    Returns:
        Items written.

    Raises:
        ArchiveBusyError: somebody reads the archive and does not end.
        OSError: it cannot be written; the older file stays.
    """
    ms, _, sequence = position.partition("@")[0].partition("-")
    path = out / "items" / f"items-{int(ms):016d}-{int(sequence):06d}.parquet"
    if not items or path.exists():
        return 0
    rows: list[_Row] = [
        {"item_id": item, "features": None if f is None else orjson.dumps(f).decode()}
        for item, f in sorted(items.items())
    ]
    with writing(out):
        _write(path, rows, _ITEM_COLUMNS)
        for older in path.parent.glob("items-*.parquet"):
            if older != path:
                older.unlink()
    return len(rows)


def _apply_erasures(out: Path, erasures: Sequence[_Row]) -> None:
    erased: dict[str, tuple[int, int]] = {}
    for e in erasures:
        position = (e["log_ms"], e["log_seq"])
        erased[e["user_hash"]] = max(position, erased.get(e["user_hash"], position))
    for folder, columns in (("date=*", _EVENT_COLUMNS), ("users", _USER_COLUMNS)):
        for path in sorted(out.glob(f"{folder}/part-*.parquet")):
            _drop_erased(path, columns, erased)


def _drop_erased(
    path: Path, columns: Mapping[str, str], erased: Mapping[str, tuple[int, int]]
) -> None:
    parquet = _pyarrow().parquet
    users = parquet.read_table(path, columns=["user_id"], partitioning=None).column(0)
    before = {u: erased.get(erasure_hash(u.encode()).decode()) for u in users.unique().to_pylist()}
    if not any(before.values()):
        return
    kept = []
    for row in parquet.read_table(path, partitioning=None).to_pylist():
        erasure = before[row["user_id"]]
        if erasure is None or (row["log_ms"], row["log_seq"]) > erasure:
            kept.append(row)
    if kept:
        _write(path, kept, columns)
    else:
        path.unlink()
        _sync_directory(path.parent)


def _write(path: Path, rows: Sequence[_Row], columns: Mapping[str, str]) -> None:
    """All of the file or nothing, and on the disk when this returns."""
    arrow = _pyarrow()
    schema = arrow.schema([(n, arrow.type_for_alias(t)) for n, t in columns.items()])
    _make_directory(path.parent)
    aside = path.with_name(_UNFINISHED + path.name)
    try:
        with aside.open("wb") as stream:
            arrow.parquet.write_table(arrow.Table.from_pylist(list(rows), schema), stream)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _make_directory(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True)
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pyarrow() -> Any:
    try:
        import pyarrow as arrow
        import pyarrow.parquet
    except ImportError as exc:
        raise ArchiveError(
            "the archive needs pyarrow; install it with: pip install 'recsvc[archive]'"
        ) from exc
    return arrow
