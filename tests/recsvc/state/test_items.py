"""Run-time items: the table and the stream of changes stay consistent."""

import asyncio

import pytest

from recsvc.errors import InvalidInputError
from recsvc.state import items
from recsvc.state.store import StateStore
from tests.recsvc.state.conftest import TEST_SETTINGS, Backend

pytestmark = pytest.mark.anyio


async def test_nothing_yet(store: StateStore) -> None:
    """Without items the snapshot is empty, and its position finds the first change."""
    position, found = await store.items_snapshot()
    assert found == {}
    await store.put_items({"matrix": {"year": 1999}})
    _, changes = await store.item_changes(position, 0)
    assert changes == [("matrix", {"year": 1999})]


async def test_changes_arrive_in_order(store: StateStore) -> None:
    """A reader sees new, changed and hidden items in the order of the changes, each once."""
    position, _ = await store.items_snapshot()
    await store.put_items({"ä:{b}": {"year": 1999}, "b": {}})
    await store.put_items({"ä:{b}": None})
    position, changes = await store.item_changes(position, 0)
    assert changes == [("ä:{b}", {"year": 1999}), ("b", {}), ("ä:{b}", None)]
    assert await store.item_changes(position, 0) == (position, [])
    assert (await store.items_snapshot()) == (position, {"ä:{b}": None, "b": {}})


async def test_a_waiting_reader_is_woken_by_a_change(store: StateStore) -> None:
    """A reader that waits gets a change made meanwhile, long before its wait is over."""
    position, _ = await store.items_snapshot()
    waiting = asyncio.create_task(store.item_changes(position, 60_000))
    await store.put_items({"matrix": {}})
    async with asyncio.timeout(10):
        assert (await waiting)[1] == [("matrix", {})]


async def test_a_wait_without_changes_ends_empty(store: StateStore) -> None:
    """After the wait a reader that nothing came for keeps its position."""
    position, _ = await store.items_snapshot()
    assert await store.item_changes(position, 20) == (position, [])


async def test_a_reader_that_missed_changes_gets_all_items(
    backend: Backend, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the bounded stream no longer holds the next change, the whole table comes instead."""
    monkeypatch.setattr(items, "_STREAM_CHANGES", 3)
    position, _ = await store.items_snapshot()
    everything = {f"item-{n}": {"n": n} for n in range(7)}
    await store.put_items(everything)
    later, changes = await store.item_changes(position, 0)
    assert dict(changes) == everything
    assert later == (await store.items_snapshot())[0]


async def test_a_redis_that_lost_its_data_is_noticed(backend: Backend, store: StateStore) -> None:
    """Changes counted anew do not pass for the next ones of a reader from before."""
    await store.put_items({"old": {}, "older": {}})
    position, _ = await store.items_snapshot()
    backend.flush()
    await store.put_items({"new": {}})
    later, changes = await store.item_changes(position, 0)
    assert changes == [("new", {})]
    assert later.endswith("@1")


async def test_many_items_at_once(store: StateStore) -> None:
    """More items than one call takes are all there, and all in the stream."""
    position, _ = await store.items_snapshot()
    everything = {f"item-{n}": {"n": n} for n in range(2_500)}
    await store.put_items(everything)
    assert (await store.items_snapshot())[1] == everything
    seen: list[tuple[str, items.Features]] = []
    while len(seen) < 2_500:
        position, changes = await store.item_changes(position, 0)
        assert changes
        seen += changes
    assert seen == list(everything.items())


async def test_racing_changes_end_the_same_for_every_reader(
    backend: Backend, store: StateStore
) -> None:
    """Two writers race; a reader that applies the stream ends with the table."""
    other = StateStore.open(backend.url, TEST_SETTINGS)
    position, state = await store.items_snapshot()
    await asyncio.gather(
        *((store, other)[n % 2].put_items({"a": {"n": n}, f"b{n % 3}": None}) for n in range(30))
    )
    await other.close()
    _, changes = await store.item_changes(position, 0)
    for item, features in changes:
        state[item] = features
    assert state == (await store.items_snapshot())[1]
    assert len(changes) == 60


async def test_items_do_not_expire(backend: Backend, store: StateStore) -> None:
    """Neither the table nor the stream has a time to live."""
    await store.put_items({"matrix": {}})
    for key in ("{items}:state", "{items}:changes", "{items}:meta"):
        assert backend.ttl(key.encode()) == -1


@pytest.mark.parametrize("item_id", ["", "x" * 257, "\udfff"])
async def test_a_wrong_item_id_is_refused(store: StateStore, item_id: str) -> None:
    """An invalid id is refused before any item is changed."""
    with pytest.raises(InvalidInputError, match="item_id"):
        await store.put_items({"fine": {}, item_id: {}})
    assert (await store.items_snapshot())[1] == {}
