"""Drain the event log from Redis to Parquet files, which training reads.

Knows nothing of models or HTTP. Needs the extra `archive` (pyarrow).

    OUT/date=2026-01-31/part-*.parquet   events, by the UTC day on which they arrived
    OUT/users/part-*.parquet             features put at run time; of a user the last row counts
    OUT/items/items-*.parquet            run-time items; the file that sorts last is the whole table
    OUT/erasures/part-*.parquet          erased users, as SHA-256 of "recsvc-erasure:" + user_id

Columns of events: user_id, item_id, event, value, timestamp (milliseconds since 1970 UTC; never
after the arrival, which a sender's clock may be ahead of), event_id, recommendation_id, log_ms,
log_seq; the last two give the order of arrival. Features are JSON text, null for a hidden item.

A batch is written aside, forced to the disk, renamed, and only then acknowledged and removed from
Redis. Killed anywhere, nothing is lost: at worst a batch is written twice. So READERS DROP REPEATS
by (user_id, event_id), keeping any. An erased user's rows from before the erasure are removed from
the files by the drain that reads its mark. Readers hold `recsvc.contract.archive_lock.reading`, so
that what they read belongs together.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from recsvc.archive import files
from recsvc.contract.errors import ArchiveBusyError
from recsvc.errors import ArchiveError, StateUnavailableError
from recsvc.settings import Settings
from recsvc.state.log import EventLog, LogEntry
from recsvc.state.store import StateStore

_BATCH_ENTRIES = 50_000
_READ_ENTRIES = 1000
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class DrainResult:
    """What one drain moved."""

    events: int = 0
    user_features: int = 0
    erasures: int = 0
    items: int = 0
    """Run-time items in a new snapshot; 0 where nothing had changed."""


async def drain_once(
    store: StateStore, out: Path, *, consumer: str, claim_idle_ms: int = 60_000
) -> DrainResult:
    """Move everything that the log holds now to files, and write down the run-time items.

    Args:
        store: over the Redis to drain; its timeout must allow for reading 1000 entries.
        out: directory, made where missing; one drain at a time uses it.
        consumer: a name that no other process uses, safe in a file name.
        claim_idle_ms: entries handed to another consumer and not finished for so long are taken.

    Raises:
        ArchiveError: the directory cannot be written or is in use; nothing is lost.
        ArchiveBusyError: somebody reads it and does not end; nothing is lost.
        StateUnavailableError: Redis does not answer; nothing is lost.
    """
    log = EventLog(store.connection, consumer)
    moved = {"event": 0, "features": 0, "erase": 0}
    try:
        with files.locked(out):
            async for batch in _batches(log, claim_idle_ms):
                files.write_batch(out, batch, consumer)
                await log.finish(batch)
                for e in batch:
                    moved[e.kind] += 1
            items = files.write_items(out, *await store.items_snapshot())
            await log.leave()
    except OSError as exc:
        raise ArchiveError(
            f"archive {out} cannot be written: {exc}; make room or give another directory; "
            "what was not archived is still in Redis"
        ) from exc
    result = DrainResult(moved["event"], moved["features"], moved["erase"], items)
    structlog.get_logger(__name__).info("archive_drained", out=str(out), result=str(result))
    return result


async def run_archive(
    url: str, out: Path, settings: Settings, *, once: bool, poll_s: float = 5.0
) -> DrainResult:
    """Drain once, or again and again until cancelled.

    Args:
        url: the Redis to drain.
        out: see `drain_once`.
        settings: for the connection; calls get five seconds, however short the service's are.
        poll_s: pause between two drains.

    Raises:
        ArchiveError: see `drain_once`.
        StateUnavailableError, ArchiveBusyError: as there, when it is the only drain.
    """
    timeout_s = max(_PATIENCE_S, settings.redis_timeout_s)
    store = StateStore.open(url, settings.model_copy(update={"redis_timeout_s": timeout_s}))
    consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        while True:
            try:
                result = await drain_once(store, out, consumer=consumer)
            except (StateUnavailableError, ArchiveBusyError) as exc:
                if once:
                    raise
                structlog.get_logger(__name__).warning("archive_waits", error=str(exc))
            else:
                if once:
                    return result
            await asyncio.sleep(poll_s)
    finally:
        await store.close()


async def _batches(log: EventLog, claim_idle_ms: int) -> AsyncIterator[list[LogEntry]]:
    batch: list[LogEntry] = []
    for partition in range(await log.partitions()):
        async for entries in _entries(log, partition, claim_idle_ms):
            batch += entries
            if len(batch) >= _BATCH_ENTRIES:
                yield batch
                batch = []
    if batch:
        yield batch


async def _entries(
    log: EventLog, partition: int, claim_idle_ms: int
) -> AsyncIterator[list[LogEntry]]:
    cursor = "0-0"
    while True:
        cursor, claimed = await log.claim(partition, cursor, claim_idle_ms, _READ_ENTRIES)
        yield claimed
        if cursor == "0-0":
            break
    while True:
        entries = await log.read(partition, _READ_ENTRIES)
        yield entries
        if len(entries) < _READ_ENTRIES:
            return
