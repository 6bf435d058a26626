"""Export and erasure of all that is kept about a user."""

import asyncio
from dataclasses import replace

import pytest

from recsvc.state import personal_data
from recsvc.state.events import Event
from recsvc.state.log import EventLog
from recsvc.state.store import StateStore
from tests.recsvc.state.conftest import Backend

pytestmark = pytest.mark.anyio

WHO = "ada-lovelace"


def event(n: int, user_id: str = WHO) -> Event:
    """The n-th event of a user."""
    return Event(user_id, f"item-{n}", "click", 1.5, n, f"e{n}")


async def fill(store: StateStore) -> None:
    """Leave traces of a user everywhere, and of two others."""
    await store.append([event(n) for n in range(8)])
    await store.append([event(n, "bob") for n in range(3)])
    await store.put_user_features(WHO, {"age": 36})
    await store.put_user_features("eve", {"age": 1})
    user = await store.read_user(WHO, "v1")
    await store.write_state(WHO, "v1", user.revision, b"adapted")
    await store.put_items({"item-1": {}})


async def test_an_unknown_user_has_no_export(store: StateStore) -> None:
    """Of a user of whom nothing is kept there is nothing to export."""
    assert await store.export_user(WHO) is None


async def test_the_export_holds_everything(store: StateStore) -> None:
    """Features, states, remembered ids, and all events, those gone from the support set too."""
    await fill(store)
    export = await store.export_user(WHO)
    assert export is not None
    assert sorted(e["event_id"] for e in export["events"]) == [f"e{n}" for n in range(8)]
    first = {"item_id": "item-0", "event": "click", "value": 1.5, "timestamp": 0, "event_id": "e0"}
    assert first in export["events"]
    assert export["features"] == {"age": 36}
    assert export["adapted_states"] == {"v1": "YWRhcHRlZA=="}
    assert sorted(export["remembered_event_ids"]) == [f"e{n}" for n in range(8)]
    assert export["revision"] == (await store.read_user(WHO, "v1")).revision


async def test_nothing_of_an_erased_user_is_left(store: StateStore, backend: Backend) -> None:
    """After an erasure no key, field, member or log entry holds the id; others keep theirs."""
    await fill(store)
    assert WHO.encode() in backend.dump()
    bob = await store.read_user("bob", "v1")
    assert await store.erase_user(WHO) == 4 + 9
    assert WHO.encode() not in backend.dump()
    assert await store.export_user(WHO) is None
    assert (await store.read_user(WHO, "v1")).revision == 0
    assert await store.read_user("bob", "v1") == bob
    kinds = sorted((fields[b"kind"], fields[b"user"][:3]) for fields in backend.log())
    assert [k for k, _ in kinds] == [b"erase", *[b"event"] * 3, b"features"]


async def test_a_long_log_is_searched_to_its_end(
    store: StateStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries that are many scans apart in a log of many users are all found."""
    monkeypatch.setattr(personal_data, "_ENTRIES_A_SCAN", 10)
    await store.append([event(0)])
    await store.append([event(n, f"user-{n}") for n in range(1_000)])
    await store.append([event(1)])
    assert await store.erase_user(WHO) == 3 + 2
    assert WHO.encode() not in backend.dump()


async def test_erasing_an_unknown_user_is_harmless(store: StateStore, backend: Backend) -> None:
    """It removes nothing, and still tells the archive, which may hold older events."""
    assert await store.erase_user(WHO) == 0
    assert [fields[b"kind"] for fields in backend.log()] == [b"erase"]


async def test_a_user_may_come_back(store: StateStore) -> None:
    """After an erasure the same ids are new: nothing is remembered, duplicates included."""
    await fill(store)
    await store.erase_user(WHO)
    again = replace(event(0), item_id="new")
    assert (await store.append([again])).accepted == 1
    assert (await store.read_user(WHO, "v1")).events == (again,)


async def test_a_state_from_before_an_erasure_is_refused(store: StateStore) -> None:
    """A slow writer cannot bring an adapted state back, not even for a user who came back."""
    await fill(store)
    before = (await store.read_user(WHO, "v1")).revision
    await store.erase_user(WHO)
    assert not await store.write_state(WHO, "v1", before, b"old")
    await store.append([event(0)])
    assert not await store.write_state(WHO, "v1", before, b"old")
    assert (await store.read_user(WHO, "v1")).state is None


async def test_entries_handed_to_the_archive_are_erased_too(
    store: StateStore, backend: Backend
) -> None:
    """An erased entry that a consumer had pending is not handed out again."""
    await fill(store)
    dead = EventLog(store.connection, "dead")
    for partition in range(await dead.partitions()):
        await dead.read(partition, 100)
    await store.erase_user(WHO)
    heir = EventLog(store.connection, "heir")
    claimed = []
    for partition in range(await heir.partitions()):
        claimed += (await heir.claim(partition, "0-0", 0, 100))[1]
    assert {e.user for e in claimed} == {"bob", "eve"}


async def test_erasure_amid_appends_keeps_what_came_after(
    store: StateStore, backend: Backend
) -> None:
    """Events that race with an erasure are kept whole or erased whole, log and support alike."""
    await store.append([event(n) for n in range(100, 105)])
    late = [store.append([event(n)]) for n in range(4)]
    await asyncio.gather(store.erase_user(WHO), *late)
    kept = {e.event_id for e in (await store.read_user(WHO, "v1")).events}
    logged = [fields for fields in backend.log() if fields[b"user"] == WHO.encode()]
    assert kept <= {f"e{n}" for n in range(4)}
    assert len(logged) == len(kept)
