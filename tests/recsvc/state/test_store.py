"""The state store keeps its promises on every kind of Redis: single servers and a cluster."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from recsvc.errors import InvalidInputError, PartitionMismatchError
from recsvc.state.events import AppendResult, Event
from recsvc.state.keys import item_number, log_key, user_keys
from recsvc.state.store import StateStore
from recsvc.telemetry import Metrics
from tests.recsvc.state.conftest import TEST_SETTINGS, Backend

pytestmark = pytest.mark.anyio

EVENT = Event("ada", "matrix", "click", 4.5, 1_000, "e1", "r1")


def event(event_id: str, timestamp_ms: int, user_id: str = "ada") -> Event:
    """An event of which only this matters."""
    return Event(user_id, f"item-{event_id}", None, None, timestamp_ms, event_id)


async def test_an_event_comes_back_as_it_was_stored(store: StateStore) -> None:
    """All fields of an event survive the way through Redis."""
    assert await store.append([EVENT]) == AppendResult(accepted=1, duplicates=0)
    assert (await store.read_user("ada", "v1")).events == (EVENT,)


async def test_an_unknown_user_is_a_new_one(store: StateStore) -> None:
    """A user of whom nothing is stored has revision 0 and nothing else."""
    user = await store.read_user("nobody", "v1")
    assert (user.revision, user.events, user.features, user.state) == (0, (), None, None)


async def test_a_repeated_event_id_is_dropped(store: StateStore, backend: Backend) -> None:
    """The second event with an id counts as a duplicate and leaves no trace, revision included."""
    await store.append([EVENT])
    before = await store.read_user("ada", "v1")
    repeated = replace(EVENT, item_id="other", timestamp_ms=9)
    assert await store.append([repeated]) == AppendResult(accepted=0, duplicates=1)
    assert await store.read_user("ada", "v1") == before
    assert len(backend.log()) == 1


async def test_a_repeat_within_one_append_is_dropped(store: StateStore) -> None:
    """The same event twice in one call is stored once."""
    assert await store.append([EVENT, EVENT]) == AppendResult(accepted=1, duplicates=1)


async def test_event_ids_are_unique_within_a_user_only(store: StateStore) -> None:
    """Two users may use the same event id."""
    other = replace(EVENT, user_id="bob")
    assert await store.append([EVENT, other]) == AppendResult(accepted=2, duplicates=0)


async def test_events_are_ordered_by_time_then_arrival(store: StateStore) -> None:
    """Late events take their place by timestamp; equal timestamps keep the order of arrival."""
    await store.append([event("b1", 20), event("b2", 20)])
    await store.append([event("a", 10), event("b3", 20)])
    await store.append([event("b0", 20)])
    order = [e.event_id for e in (await store.read_user("ada", "v1")).events]
    assert order == ["a", "b1", "b2", "b3", "b0"]


async def test_an_event_from_the_future_stands_where_it_arrived(store: StateStore) -> None:
    """It comes back as sent, is no newer than what follows it, and leaves the set in its turn."""
    ahead = replace(event("ahead", 90), arrived_ms=20)
    await store.append([event("before", 10), ahead])
    await store.append([event("after", 30)])
    events = (await store.read_user("ada", "v1")).events
    assert [e.event_id for e in events] == ["before", "ahead", "after"]
    assert events[1] == ahead
    await store.append([event(f"{t}", t) for t in range(40, 80, 10)])
    kept = [e.event_id for e in (await store.read_user("ada", "v1")).events]
    assert kept == ["after", "40", "50", "60", "70"]


async def test_the_support_set_is_bounded(store: StateStore, backend: Backend) -> None:
    """Beyond the limit the oldest events by timestamp leave; the log keeps all."""
    await store.append([event(f"{t}", t) for t in (5, 1, 7, 3, 6, 2, 4)])
    kept = [e.timestamp_ms for e in (await store.read_user("ada", "v1")).events]
    assert kept == [3, 4, 5, 6, 7]
    assert len(backend.log()) == 7


async def test_many_events_of_many_users_at_once(store: StateStore, backend: Backend) -> None:
    """A large append is split into several calls, and nothing of it is missed or doubled."""
    events = [event(f"{i}", i, f"user-{i % 300}") for i in range(2_000)]
    events += [event(f"{i}", i, "busy") for i in range(1_200)]
    assert await store.append(events) == AppendResult(accepted=3_200, duplicates=0)
    assert await store.append(events) == AppendResult(accepted=0, duplicates=3_200)
    assert len(backend.log()) == 3_200


async def test_the_revision_grows_with_every_change(store: StateStore) -> None:
    """Events and features both count as a change; reading does not."""
    revisions = [(await store.read_user("ada", "v1")).revision]
    for change in (store.append([EVENT]), store.put_user_features("ada", {"age": 3})):
        await change
        revisions += [(await store.read_user("ada", "v1")).revision] * 2
    assert revisions[0] < revisions[1] == revisions[2] < revisions[3] == revisions[4]


async def test_features_come_back_as_they_were_put(store: StateStore) -> None:
    """The last features put are read; nested values and Unicode survive."""
    await store.put_user_features("ada", {"age": 3, "gone": True})
    await store.put_user_features("ada", {"age": None, "genres": ["Komödie", "Drama"]})
    user = await store.read_user("ada", "v1")
    assert user.features == {"age": None, "genres": ["Komödie", "Drama"]}


async def test_a_state_is_kept_at_its_revision(store: StateStore) -> None:
    """A state written at the current revision is read for its model version and no other."""
    await store.append([EVENT])
    revision = (await store.read_user("ada", "v1")).revision
    assert await store.write_state("ada", "v1", revision, b"\x00:\xff\r\n")
    assert (await store.read_user("ada", "v1")).state == b"\x00:\xff\r\n"
    assert (await store.read_user("ada", "v2")).state is None


async def test_a_late_state_is_refused(store: StateStore) -> None:
    """A state computed before the user's last change is not kept."""
    await store.append([EVENT])
    revision = (await store.read_user("ada", "v1")).revision
    await store.append([event("e2", 2)])
    assert not await store.write_state("ada", "v1", revision, b"late")
    assert (await store.read_user("ada", "v1")).state is None


@pytest.mark.parametrize("change", ["event", "features"])
async def test_a_change_drops_the_states(store: StateStore, backend: Backend, change: str) -> None:
    """After an event or new features, the states of all model versions must be computed anew."""
    await store.append([EVENT])
    revision = (await store.read_user("ada", "v1")).revision
    for version in ("v1", "v2"):
        await store.write_state("ada", version, revision, b"state")
    if change == "event":
        await store.append([event("e2", 2)])
    else:
        await store.put_user_features("ada", {"age": 3})
    states = [(await store.read_user("ada", version)).state for version in ("v1", "v2")]
    assert states == [None, None]
    assert user_keys(b"ada", TEST_SETTINGS.partitions).state not in backend.stored_keys()


async def test_racing_appends_all_count(store: StateStore, backend: Backend) -> None:
    """Appends that race lose nothing: every event is stored once, every change is counted."""
    other = StateStore.open(backend.url, TEST_SETTINGS)
    batches = [[event(f"{n}", n), event("same", 99)] for n in range(40)]
    stores = (store, other)
    results = await asyncio.gather(*(stores[n % 2].append(b) for n, b in enumerate(batches)))
    await other.close()
    assert sum(r.accepted for r in results) == 41
    assert sum(r.duplicates for r in results) == 39
    assert len(backend.log()) == 41


async def test_of_racing_writers_only_one_at_the_last_revision_wins(store: StateStore) -> None:
    """However appends and state writes interleave, a kept state was computed at its revision."""

    async def adapt() -> None:
        user = await store.read_user("ada", "v1")
        await store.write_state("ada", "v1", user.revision, b"%d" % len(user.events))

    for n in range(5):
        await asyncio.gather(adapt(), store.append([event(f"{n}", n)]), adapt())
        user = await store.read_user("ada", "v1")
        assert user.state in (None, b"%d" % len(user.events))


async def test_state_expires_and_the_log_does_not(store: StateStore, backend: Backend) -> None:
    """Every key of a user has a time to live; the log and the record of partitions have none."""
    await store.append([EVENT], lambda _: True)
    await store.put_user_features("ada", {"age": 3})
    user = await store.read_user("ada", "v1")
    await store.write_state("ada", "v1", user.revision, b"state")
    keys = user_keys(b"ada", TEST_SETTINGS.partitions)
    assert backend.stored_keys() == {*keys.own, keys.log, b"recsvc:partitions"}
    lives = {key: backend.ttl(key) for key in backend.stored_keys()}
    assert all(0 < lives[key] <= TEST_SETTINGS.state_ttl_s for key in keys.own)
    assert lives[keys.log] == lives[b"recsvc:partitions"] == -1


async def test_every_user_has_all_keys_in_one_partition(
    store: StateStore, backend: Backend
) -> None:
    """Hostile ids (braces, colons, other scripts, 256 characters) work like any other."""
    ids = ["{p0}:log", "a}b{c", ":support", "a:u:b", "用户", "\x00\n", "é" * 256, "b", "b:u"]
    await store.append([replace(EVENT, user_id=user_id) for user_id in ids])
    for user_id in ids:
        assert [e.user_id for e in (await store.read_user(user_id, "v1")).events] == [user_id]
    logged = {fields[b"user"].decode() for fields in backend.log()}
    assert logged == set(ids)


@pytest.mark.parametrize("user_id", ["", "x" * 257, "half \ud800 a pair"])
async def test_a_wrong_user_id_is_refused(
    store: StateStore, backend: Backend, user_id: str
) -> None:
    """An id that is empty, too long or no Unicode is refused before anything is stored."""
    with pytest.raises(InvalidInputError, match="user_id"):
        await store.append([EVENT, replace(EVENT, user_id=user_id)])
    assert not any(log_key(p) in backend.stored_keys() for p in range(TEST_SETTINGS.partitions))


async def test_another_number_of_partitions_is_refused(store: StateStore, backend: Backend) -> None:
    """A store with another setting than the one Redis was filled under names both numbers."""
    await store.append([EVENT])
    other = StateStore.open(backend.url, TEST_SETTINGS.model_copy(update={"partitions": 9}))
    for call in (other.start, lambda: other.append([EVENT])):
        with pytest.raises(PartitionMismatchError, match=r"partitions=9 .* RECSVC_PARTITIONS=8"):
            await call()
    await other.close()


async def test_the_counters_tell_new_events_from_duplicates(backend: Backend) -> None:
    """Accepted and dropped events are counted apart."""
    metrics = Metrics()
    store = StateStore.open(backend.url, TEST_SETTINGS, metrics)
    await store.append([EVENT, EVENT, event("e2", 2)])
    await store.close()
    text = metrics.render()[0].decode()
    assert "recsvc_events_accepted_total 2.0" in text
    assert "recsvc_events_duplicate_total 1.0" in text


async def test_each_user_and_item_counts_once(store: StateStore, backend: Backend) -> None:
    """Only what is asked to count does, and of that a user's first accepted event on the item, in
    any number of calls and parts; what is remembered for it is exported and erased."""

    def counts(e: Event) -> bool:
        return e.event == "click"

    def clicks(*events: Event) -> Awaitable[AppendResult]:
        return store.append(events, counts)

    other = replace(EVENT, item_id="other", event_id="2")
    assert (await clicks(replace(EVENT, event="view", event_id="0"), EVENT, EVENT)).firsts == 1
    assert (await clicks(EVENT, replace(EVENT, event_id="1"))).firsts == 0
    many = [replace(e, event_id=f"{e.item_id}{n}") for n in range(600) for e in (EVENT, other)]
    assert (await clicks(*many, replace(EVENT, user_id="bob"))).firsts == 2
    export = await store.export_user("ada")
    assert export is not None
    expected = sorted(map(item_number, (EVENT.item_id, "other")))
    assert export["remembered_item_numbers"] == expected
    await store.erase_user("ada")
    assert user_keys(b"ada", TEST_SETTINGS.partitions).taken not in backend.stored_keys()


async def test_as_many_items_are_remembered_as_take_little_room(store: StateStore) -> None:
    """Of more than 512 some are forgotten, and may count again."""
    many = [replace(EVENT, item_id=f"i{n}", event_id=f"{n}") for n in range(600)]
    assert (await store.append(many, lambda _: True)).firsts == 600
    export = await store.export_user("ada")
    assert export is not None
    assert len(export["remembered_item_numbers"]) == 512
    again = [replace(e, event_id=f"{e.event_id}-again") for e in many]
    assert (await store.append(again, lambda _: True)).firsts >= 600 - 512
