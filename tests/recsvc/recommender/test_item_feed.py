"""The feed of run-time items, over a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from recsvc.recommender import ItemFeed
from recsvc.recommender.items import ITEMS_AT_ONCE, Features
from recsvc.settings import Settings
from recsvc.state.store import StateStore
from tests.recsvc.redis_server import DEADLINE_S, RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[StateStore]:
    opened = StateStore.open(redis_server.url, Settings(partitions=8, redis_timeout_s=5.0))
    yield opened
    await opened.close()


class Replica:
    """A feed and what it passed on, in order."""

    def __init__(self, store: StateStore) -> None:
        self.applied: list[dict[str, Features]] = []
        self._more = asyncio.Event()
        self.feed = ItemFeed(store, self._note)

    async def _note(self, items: Mapping[str, Features]) -> None:
        await asyncio.sleep(0)  # as if it took a while
        self.applied.append(dict(items))
        self._more.set()

    async def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Until the items meet a condition."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition(dict(self.feed.items)):
                self._more.clear()
                await self._more.wait()


async def test_a_new_replica_starts_from_the_snapshot(store: StateStore) -> None:
    """Items that were put before are there after catching up, hidden ones included."""
    await store.put_items({"a": {"x": 1}, "b": None})
    replica = Replica(store)
    await replica.feed.catch_up()
    assert replica.feed.items == {"a": {"x": 1}, "b": None}


async def test_changes_reach_every_replica(store: StateStore) -> None:
    """What is put while replicas tail arrives at each of them."""
    replicas = [Replica(store), Replica(store)]
    tasks = [asyncio.create_task(r.feed.run()) for r in replicas]
    await store.put_items({"a": {"x": 1}})
    await store.put_items({"a": {"x": 2}, "b": None})
    for replica in replicas:
        await replica.wait_for(lambda items: items == {"a": {"x": 2}, "b": None})
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_lost_redis_is_caught_up_with(store: StateStore, short_dir: Any) -> None:
    """After Redis dies and comes back, changes made meanwhile arrive."""
    from recsvc.state.embedded import find_redis_server

    options = ("--appendonly", "yes")
    server = RedisServer(find_redis_server(), short_dir, options)
    server.start()
    lost = StateStore.open(
        server.url, Settings(partitions=8, redis_timeout_s=5.0, breaker_reset_s=0.05)
    )
    replica = Replica(lost)
    task = asyncio.create_task(replica.feed.run())
    await lost.put_items({"a": {"x": 1}})
    await replica.wait_for(lambda items: "a" in items)
    server.kill()
    server.start()
    other = StateStore.open(server.url, Settings(partitions=8, redis_timeout_s=5.0))
    await other.put_items({"b": {"x": 2}})
    await replica.wait_for(lambda items: "b" in items)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await lost.close()
    await other.close()
    server.kill()


async def test_what_is_known_is_not_applied_again(store: StateStore) -> None:
    """A change that was noted here and then comes through the stream costs nothing."""
    replica = Replica(store)
    await replica.feed.note([("a", {"x": 1}), ("a", {"x": 2})])
    await replica.feed.note([("a", {"x": 1}), ("a", {"x": 2}), ("b", None)])
    assert replica.applied == [{"a": {"x": 2}}, {"b": None}]


async def test_a_bulk_load_lets_single_changes_through(store: StateStore) -> None:
    """A change that comes behind a load waits for one part of it, and what it replaces is left."""
    replica = Replica(store)
    ids = [f"i{n}" for n in range(4 * ITEMS_AT_ONCE)]
    load = asyncio.create_task(replica.feed.note([(i, {"x": 1}) for i in ids]))
    await asyncio.sleep(0)
    await replica.feed.note([(ids[-1], {"x": 2}), ("new", None)])
    assert len(replica.applied) <= 3
    assert replica.applied[-1] == {ids[-1]: {"x": 2}, "new": None}
    await load
    applied = [item for part in replica.applied for item in part.items()]
    assert sorted(name for name, _ in applied) == sorted([*ids, "new"])
    assert max(len(part) for part in replica.applied) == ITEMS_AT_ONCE
