"""Merging one user into another: nothing is lost, nothing counts twice, nothing of it stays."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from recsvc.errors import ConflictError, InvalidInputError, StateUnavailableError, UserNotFoundError
from recsvc.state.connection import Connection
from recsvc.state.events import Event
from recsvc.state.keys import partition_of
from recsvc.state.merging import MergeResult, merged_event_id
from recsvc.state.store import StateStore
from tests.recsvc.state.conftest import TEST_SETTINGS, Backend

pytestmark = pytest.mark.anyio

ADA, GUEST, BOB = "ada", "guest-17", "bob"


def event(n: int, user_id: str) -> Event:
    """The n-th event of a user."""
    return Event(user_id, f"item-{n}", "click", 1.5, n, f"e{n}", "r1")


def moved(n: int) -> Event:
    """The guest's n-th event, as ada's."""
    return replace(event(n, ADA), event_id=merged_event_id(GUEST.encode(), f"e{n}"))


async def test_the_users_live_apart() -> None:
    """The tests' users are in different hash slots, so that nothing is atomic across them."""
    assert len({partition_of(u.encode(), TEST_SETTINGS.partitions) for u in (ADA, GUEST)}) == 2


async def test_events_and_features_move(store: StateStore, backend: Backend) -> None:
    """They join the target's in the order of their times; the source is gone everywhere."""
    await store.append([event(1, GUEST), event(3, GUEST)])
    await store.put_user_features(GUEST, {"age": 20, "city": "Ulm"})
    await store.append([event(2, ADA), event(4, ADA)])
    await store.put_user_features(ADA, {"age": 36})
    assert await store.merge_users(ADA, GUEST) == MergeResult(2, ("city",))
    ada = await store.read_user(ADA, "v1")
    assert ada.events == (moved(1), event(2, ADA), moved(3), event(4, ADA))
    assert ada.features == {"age": 36, "city": "Ulm"}
    assert await store.export_user(GUEST) is None
    assert GUEST.encode() not in backend.dump().replace(b"{p%d}:u:%b:merged" % (
        partition_of(GUEST.encode(), TEST_SETTINGS.partitions), GUEST.encode()), b"")  # fmt: skip
    assert ADA.encode() in {e[b"user"] for e in backend.log() if e[b"kind"] == b"features"}


async def test_repeating_a_merge_is_harmless(store: StateStore) -> None:
    """A second call moves nothing, and moves what has come since."""
    await store.append([event(1, GUEST)])
    assert (await store.merge_users(ADA, GUEST)).events == 1
    assert await store.merge_users(ADA, GUEST) == MergeResult(0, ())
    assert (await store.read_user(ADA, "v1")).events == (moved(1),)
    await store.append([event(2, GUEST)])
    assert (await store.merge_users(ADA, GUEST)).events == 1
    assert (await store.read_user(ADA, "v1")).events == (moved(1), moved(2))


async def test_equal_event_ids_of_two_users_are_two_events(store: StateStore) -> None:
    """Ids are unique within a user only: the source's e1 does not vanish beside the target's."""
    await store.append([event(1, GUEST), replace(event(1, ADA), item_id="another")])
    assert (await store.merge_users(ADA, GUEST)).events == 1
    items = [e.item_id for e in (await store.read_user(ADA, "v1")).events]
    assert sorted(items) == ["another", "item-1"]


async def test_events_beyond_the_support_set_move_too(store: StateStore) -> None:
    """What only the log still holds is copied before it is erased."""
    await store.append([event(n, GUEST) for n in range(9)])
    assert (await store.merge_users(ADA, GUEST)).events == 9
    export = await store.export_user(ADA)
    assert export is not None
    assert [e["item_id"] for e in export["events"]] == [f"item-{n}" for n in range(9)]


async def test_who_is_unknown_cannot_be_merged(store: StateStore) -> None:
    """Nothing is kept about the source, or it is the target itself."""
    with pytest.raises(UserNotFoundError, match="guest-17"):
        await store.merge_users(ADA, GUEST)
    with pytest.raises(InvalidInputError, match="itself"):
        await store.merge_users(ADA, ADA)


async def test_a_merged_user_cannot_become_somebody_else(store: StateStore) -> None:
    """The source is remembered: another target is a conflict, a merge into it too, until DELETE."""
    await store.append([event(1, GUEST), event(1, BOB)])
    await store.merge_users(ADA, GUEST)
    with pytest.raises(ConflictError, match="guest-17"):
        await store.merge_users(BOB, GUEST)
    with pytest.raises(ConflictError, match="guest-17"):
        await store.merge_users(GUEST, BOB)
    await store.erase_user(GUEST)
    await store.append([event(1, GUEST)])
    assert (await store.merge_users(BOB, GUEST)).events == 1


async def test_too_many_features_together_are_a_conflict(store: StateStore) -> None:
    """Nothing moves where the target would end with more features than it may have."""
    half = TEST_SETTINGS.max_features // 2
    await store.put_user_features(GUEST, {f"g{n}": n for n in range(half + 1)})
    await store.put_user_features(ADA, {f"a{n}": n for n in range(half)})
    with pytest.raises(ConflictError, match="max_features"):
        await store.merge_users(ADA, GUEST)
    assert len((await store.read_user(GUEST, "v1")).features or {}) == half + 1


class Breaks:
    """Makes the n-th call to Redis fail, before it was done or after."""

    def __init__(self, patch: pytest.MonkeyPatch, n: int, *, done: bool) -> None:
        self._left, self._done = n, done
        for name in ("run", "run_many", "command"):
            patch.setattr(Connection, name, self._breaking(getattr(Connection, name)))

    @property
    def happened(self) -> bool:
        return self._left < 0

    def _breaking(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def breaking(*args: Any) -> Any:
            self._left -= 1
            if self._left == -1 and not self._done:
                raise StateUnavailableError("not done")
            answer = await call(*args)
            if self._left == -1:
                raise StateUnavailableError("done, but the answer was lost")
            return answer

        return breaking


@pytest.mark.parametrize("done", [False, True])
async def test_a_merge_that_breaks_off_anywhere_is_completed_by_repeating_it(
    store: StateStore, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """Whichever call to Redis fails, in the end every event is there once, and the source gone."""
    for n in range(50):
        ada, guest = f"ada-{n}", f"guest-{n}"
        await store.append([event(k, guest) for k in range(7)])
        await store.put_user_features(guest, {"age": n})
        with monkeypatch.context() as patch:
            breaks = Breaks(patch, n, done=done)
            with suppress(StateUnavailableError):
                await store.merge_users(ada, guest)
            happened = breaks.happened
        await store.merge_users(ada, guest)
        export = await store.export_user(ada)
        assert export is not None
        assert [e["timestamp"] for e in export["events"]] == list(range(7))
        assert export["features"] == {"age": n}
        assert await store.export_user(guest) is None
        if not happened:
            assert n > 5
            return
    pytest.fail("the merge never ended")


async def test_what_arrives_during_a_merge_is_not_lost(store: StateStore) -> None:
    """Events sent to the source while it is merged end with the target or wait with the source."""
    await store.append([event(0, GUEST)])

    async def send() -> None:
        for n in range(1, 20):
            await store.append([event(n, GUEST)])

    async def merge() -> None:
        for _ in range(5):
            await store.merge_users(ADA, GUEST)

    await asyncio.gather(send(), merge())
    await store.merge_users(ADA, GUEST)
    export = await store.export_user(ADA)
    assert export is not None
    assert sorted(e["timestamp"] for e in export["events"]) == list(range(20))


def test_the_id_of_a_moved_event_is_an_id() -> None:
    """Always the same for an event, different for different users, never longer than ids may be."""
    assert merged_event_id(b"a", "e1") == merged_event_id(b"a", "e1") != merged_event_id(b"b", "e1")
    long = {merged_event_id(b"a", "x" * 255 + end) for end in "yz"}
    assert len(long) == 2
    assert all(len(found) <= 256 for found in long)
