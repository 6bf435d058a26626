"""Who counts for an item: the first users, once each, on every kind of Redis, until erased."""

import asyncio
import time
from typing import Any

import pytest

from recsvc.contract.manifest import MAX_ITEM_USERS
from recsvc.errors import InvalidInputError, StateUnavailableError
from recsvc.state import changes, item_supports
from recsvc.state.events import Event
from recsvc.state.keys import (
    ITEMS_SUPPORTERS,
    erasure_key,
    item_support_key,
    user_items_key,
)
from recsvc.state.store import StateStore
from recsvc.state.support_entries import SupportChange, UserRecord
from tests.recsvc.state.conftest import TEST_SETTINGS, Backend

pytestmark = pytest.mark.anyio

ADA, BOB = "ada:{x}", "bob"


NOW_US = time.time_ns() // 1000


def record(user_id: str, item_id: str = "new", revision: int = NOW_US, **fields: Any) -> UserRecord:
    """A record of which only these fields matter."""
    return UserRecord(item_id, user_id, {"others": [], **fields}, revision)


def no_more(user_id: str, item_id: str = "new", revision: int = NOW_US) -> UserRecord:
    """The user no longer counts."""
    return UserRecord(item_id, user_id, None, revision)


async def records_of(store: StateStore, item_id: str = "new") -> list[dict[str, Any]]:
    """What is kept of an item, in order."""
    _, found = await store.item_supports.read([item_id])
    return list(found[item_id].records) if item_id in found else []


async def test_records_come_back_in_order(store: StateStore) -> None:
    """Of one user the first one counts; the count stands as it was at the item's first one."""
    await store.put_items({"new": {}})
    assert await store.item_supports.put(5, [record(BOB, n=0)]) == [True]
    assert await store.item_supports.put(2, [record(ADA, n=1), record(BOB, n=2)]) == [True, True]
    positives, found = await store.item_supports.read(["new", "other"])
    assert positives == await store.item_supports.positives() == 7
    assert list(found) == ["new"]
    assert found["new"].change == SupportChange(first=5, number=2, users=2, added=2, last=7)
    assert found["new"].counts == (5, 7)
    assert [r["n"] for r in found["new"].records] == [0, 1]


async def test_only_the_first_users_count(store: StateStore) -> None:
    """Beyond the bound nobody is added, in any number of calls, also where somebody goes: who came
    in between is not known, so a later one would tell nothing of how often the item is taken."""
    await store.put_items({"new": {}})
    many = [record(f"user-{n}", n=n) for n in range(MAX_ITEM_USERS + 200)]
    assert all(await store.item_supports.put(len(many), many))
    assert [r["n"] for r in await records_of(store)] == list(range(MAX_ITEM_USERS))
    await store.item_supports.put(9, [no_more("user-3"), record("late", n=-1)])
    _, found = await store.item_supports.read(["new"])
    change = found["new"].change
    assert change.is_full
    assert (change.users, change.last) == (MAX_ITEM_USERS - 1, len(many))
    await store.item_supports.put(9, [record("user-3", n=3)])
    assert len(await records_of(store)) == MAX_ITEM_USERS - 1


async def test_an_item_must_be_known(store: StateStore) -> None:
    """Neither put nor of a bundle: refused for now. Hidden: likewise. Of a bundle: taken."""
    await store.put_items({"hidden": None, "put": {}})
    rows = [record(ADA, i) for i in ("nowhere", "hidden", "put")]
    rows.append(UserRecord("bundled", ADA, {}, NOW_US, of_bundle=True))
    assert await store.item_supports.put(1, rows) == [False, False, True, True]
    assert (await store.item_supports.snapshot())[1].keys() == {"put", "bundled"}


async def test_changes_reach_a_reader_without_naming_users(
    store: StateStore, backend: Backend
) -> None:
    """A tail sees what changed; neither stream nor table holds a user's id."""
    await store.put_items({"new": {}, "x": {}})
    position, found = await store.item_supports.snapshot()
    assert found == {}
    await store.item_supports.put(3, [record(ADA), record(BOB), record(BOB), record(BOB, "x")])
    expected = {"new": SupportChange(3, 2, 2, 2, 3), "x": SupportChange(3, 3, 1, 1, 3)}
    position, found, is_all = await store.item_supports.changes(position, 0)
    assert not is_all
    assert found == expected
    assert await store.item_supports.snapshot() == (position, expected)
    await store.item_supports.put(0, [no_more(BOB, "x"), no_more(ADA, "x")])
    _, found, _ = await store.item_supports.changes(position, 0)
    assert found == {"x": SupportChange(3, 4, 0, 1, 3)}
    assert (await store.item_supports.snapshot())[1].keys() == {"new"}
    for key, command in (("{items}:supported", "HGETALL"), ("{items}:supports", "XRANGE")):
        bounds = ("-", "+") if command == "XRANGE" else ()
        for server in backend.servers:
            with server.client() as client:
                if key.encode() in client.keys("*"):
                    assert ADA not in repr(client.execute_command(command, key, *bounds))


async def test_a_reader_that_missed_changes_gets_all_items(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the bounded stream no longer holds the next change, every item comes instead."""
    monkeypatch.setattr(item_supports, "_STREAM_CHANGES", 3)
    monkeypatch.setattr(changes, "_CHANGES_A_READ", 2)
    ids = {f"item-{n}" for n in range(9)}
    await store.put_items({i: {} for i in ids})
    position, _ = await store.item_supports.snapshot()
    await store.item_supports.put(1, [record(ADA, i) for i in sorted(ids)])
    later, found, is_all = await store.item_supports.changes(position, 0)
    assert is_all
    assert found.keys() == ids
    assert later == (await store.item_supports.snapshot())[0]


async def test_racing_writers_count_a_user_once(backend: Backend, store: StateStore) -> None:
    """Two processes write the same users at once: each is there once, the count is the sum."""
    await store.put_items({"new": {}})
    other = StateStore.open(backend.url, TEST_SETTINGS)
    calls = [
        writer.item_supports.put(1, [record(f"user-{n % 10}")])
        for n in range(40)
        for writer in (store, other)
    ]
    await asyncio.gather(*calls)
    await other.close()
    positives, found = await store.item_supports.read(["new"])
    assert (positives, found["new"].change.users, len(found["new"].records)) == (80, 10, 10)


async def test_an_item_whose_support_is_gone_starts_anew(
    backend: Backend, store: StateStore
) -> None:
    """Expired or evicted, it has no support; its exposure counts from the next first one."""
    await store.put_items({"new": {}})
    await store.item_supports.put(10, [record(ADA)])
    key = item_support_key(b"new")
    assert 0 < backend.ttl(key) <= TEST_SETTINGS.state_ttl_s
    for server in backend.servers:
        with server.client() as client:
            if key in client.keys("*"):
                client.delete(key)
    assert await store.item_supports.read(["new"]) == (10, {})
    assert (await store.item_supports.snapshot())[1] == {}
    await store.item_supports.put(5, [record(BOB)])
    _, found = await store.item_supports.read(["new"])
    assert (found["new"].change.first, found["new"].change.users) == (15, 1)


async def test_nothing_of_an_erased_user_is_left(store: StateStore, backend: Backend) -> None:
    """No key, field or stream holds the id; nor does a writer that read before bring it back."""
    ids = [f"item-{n}" for n in range(1_200)]
    await store.put_items({i: {} for i in ids})
    await store.append([Event(ADA, "item-1", None, None, 1, "e1")])
    await store.item_supports.put(1, [record(u, i) for u in (ADA, BOB) for i in ids])
    export = await store.export_user(ADA)
    assert export is not None
    assert export["item_supports"]["item-7"] == {"others": []}
    assert len(export["item_supports"]) == len(ids)
    position, _ = await store.item_supports.snapshot()
    assert await store.erase_user(ADA) > len(ids)
    assert await store.item_supports.put(0, [record(ADA, "item-1")]) == [False]
    assert ADA.encode() not in backend.dump()
    assert await store.export_user(ADA) is None
    _, found, _ = await store.item_supports.changes(position, 0)
    assert {change.users for change in found.values()} == {1}
    assert 0 < backend.ttl(erasure_key(ADA.encode())) <= item_supports.ERASURE_S


async def test_records_without_a_user_are_exported_and_erased(
    store: StateStore, backend: Backend
) -> None:
    """A user whose own keys have expired is still found where they count for items."""
    await store.put_items({"new": {}})
    await store.item_supports.put(1, [record(ADA)])
    export = await store.export_user(ADA)
    assert export is not None
    assert (export["events"], export["item_supports"]) == ([], {"new": {"others": []}})
    assert await store.erase_user(ADA) == 1
    assert ADA.encode() not in backend.dump()


async def test_a_merged_user_counts_no_more(store: StateStore, backend: Backend) -> None:
    """The source's records go and are named; who asks again is told nothing twice."""
    await store.put_items({"a": {}, "b": {}})
    await store.append([Event(ADA, "a", None, None, 1, "e1")])
    await store.item_supports.put(2, [record(ADA, "a"), record(ADA, "b"), record(BOB, "a")])
    merged = await store.merge_users(BOB, ADA)
    assert sorted(merged.items) == ["a", "b"]
    _, found = await store.item_supports.read(["a", "b"])
    assert {i: s.change.users for i, s in found.items()} == {"a": 1}
    assert (await store.merge_users(BOB, ADA)).items == ()
    keys = {key for key in backend.stored_keys() if key.startswith(b"{items}:i:")}
    assert ADA.encode() not in b"".join(repr(k).encode() for k in keys)


@pytest.mark.parametrize("wrong", [record("", "new"), record(ADA, "x" * 257)])
async def test_a_wrong_id_is_refused(store: StateStore, wrong: UserRecord) -> None:
    """Ids are checked before anything is written."""
    with pytest.raises(InvalidInputError):
        await store.item_supports.put(1, [wrong])
    assert await store.item_supports.positives() == 0


async def test_what_is_left_is_not_called_erased(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An erasure looks again, and fails where a record is still there."""
    await store.put_items({"new": {}})
    await store.item_supports.put(1, [record(ADA)])

    async def nothing(_: bytes) -> list[str]:
        return []

    monkeypatch.setattr(store.item_supports, "forget", nothing)
    with pytest.raises(StateUnavailableError, match="left"):
        await store.erase_user(ADA)


async def test_of_two_writers_the_newer_events_decide(store: StateStore) -> None:
    """A worker that read the user before a dislike writes after the one that read it: no record."""
    await store.put_items({"new": {}})
    late = record(ADA, revision=NOW_US)
    assert await store.item_supports.put(1, [no_more(ADA, revision=NOW_US + 1), late]) == [True] * 2
    assert await records_of(store) == []
    await store.item_supports.put(1, [record(ADA, revision=NOW_US + 2, n=2)])
    await store.item_supports.put(1, [no_more(ADA, revision=NOW_US + 1)])
    assert [r["n"] for r in await records_of(store)] == [2]


async def test_who_changes_their_mind_takes_no_other_place(store: StateStore) -> None:
    """Liked, disliked and liked again is one user of the item's first ones."""
    await store.put_items({"new": {}})
    await store.item_supports.put(1, [record(BOB)])
    for n in range(0, 10, 2):
        likes = record(ADA, revision=NOW_US + n)
        await store.item_supports.put(1, [likes, no_more(ADA, revision=NOW_US + n + 1)])
    _, found = await store.item_supports.read(["new"])
    assert (found["new"].change.users, found["new"].change.added) == (1, 2)


async def test_records_end_with_the_users_own_state(store: StateStore, backend: Backend) -> None:
    """Nothing renews them but a later record of the same user, no reading above all; then nothing
    of the user or of an item that nobody else took is left, and readers learn of it."""
    await store.put_items({"a": {}, "b": {}})
    past_us = NOW_US - (TEST_SETTINGS.state_ttl_s + 10) * 1_000_000
    await store.item_supports.put(
        3, [record(ADA, "a", past_us), record(ADA, "b", past_us), record(BOB, "b", past_us)]
    )
    await store.item_supports.put(1, [record("cy", "b"), record(BOB, "a")])
    position, _ = await store.item_supports.snapshot()
    await store.item_supports.read(["a", "b"])
    assert await store.item_supports.drop_expired() == 1
    assert ADA.encode() not in backend.dump()
    _, found, _ = await store.item_supports.changes(position, 0)
    assert {item: change.users for item, change in found.items()} == {"a": 1, "b": 2}
    assert await store.item_supports.drop_expired() == 0
    await store.item_supports.put(0, [no_more(BOB, "a", NOW_US + 1)])
    assert (await store.item_supports.snapshot())[1].keys() == {"b"}


async def test_all_records_that_are_due_go_at_once(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: after a bulk load whole crowds reach their end together."""
    monkeypatch.setattr(item_supports, "_USERS_A_CALL", 2)
    await store.put_items({"new": {}})
    await store.item_supports.put(1, [record(f"user-{n}", revision=0) for n in range(5)])
    assert await store.item_supports.drop_expired() == 5
    assert await records_of(store) == []


async def test_users_without_an_index_do_not_keep_the_sweep_busy(
    store: StateStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys were deleted by hand: nothing says what to remove, and the sweep ends all the same."""
    monkeypatch.setattr(item_supports, "_USERS_A_CALL", 2)
    await store.put_items({"new": {}})
    await store.item_supports.put(1, [record(f"user-{n}", revision=0) for n in range(2)])
    indices = {user_items_key(b"user-0"), user_items_key(b"user-1")}
    for server in backend.servers:
        with server.client() as client:
            for key in indices.intersection(client.keys("*")):
                client.delete(key)
    assert indices.isdisjoint(backend.stored_keys())
    assert await asyncio.wait_for(store.item_supports.drop_expired(), 5) == 2


async def test_an_evicted_support_leaves_no_entry(backend: Backend, store: StateStore) -> None:
    """Nobody reads the item any more: its entry goes when its users' time is over."""
    await store.put_items({"new": {}})
    await store.item_supports.put(1, [record(ADA, revision=0)])
    for server in backend.servers:
        with server.client() as client:
            if item_support_key(b"new") in client.keys("*"):
                client.delete(item_support_key(b"new"))
    assert await store.item_supports.drop_expired() == 1
    assert (await store.item_supports.snapshot())[1] == {}
    assert ADA.encode() not in backend.dump()


async def test_the_index_of_a_users_items_is_never_evicted(
    store: StateStore, backend: Backend
) -> None:
    """An erasure finds a record by it, so it must not go before the record does."""
    await store.put_items({"new": {}})
    await store.item_supports.put(1, [record(ADA)])
    assert backend.ttl(user_items_key(ADA.encode())) == -1
    assert backend.ttl(ITEMS_SUPPORTERS) == -1
