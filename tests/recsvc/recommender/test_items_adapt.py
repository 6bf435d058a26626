"""Items move by their first interactions: exactly as the graph says, on every replica."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsvc.candidates import log_totals
from recsvc.contract.manifest import MAX_ITEM_USERS
from recsvc.contract.registry import Registry
from recsvc.item_adaptation import rounded_exposure
from recsvc.recommender import Query, Recommender, connect
from recsvc.recommender import item_recorder as recording
from recsvc.recommender.item_adapter import ItemAdapter
from recsvc.recommender.known_users import KnownUsers
from recsvc.recommender.wiring import Connected
from recsvc.settings import Settings
from recsvc.state.embedded import find_redis_server
from recsvc.state.events import Event
from recsvc.state.store import StateStore
from recsvc.state.support_entries import SupportChange, UserRecord
from recsvc.telemetry import Metrics
from tests.recsvc.bundles import BLACK, COLOUR_KERNEL, ITEM_IDS, WHITE, publish_world
from tests.recsvc.redis_server import DEADLINE_S, RedisServer
from tests.recsvc.world_items import MAX_SUPPORT, by_hand

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(partitions=8, redis_timeout_s=5.0, breaker_reset_s=0.05)


class Replica:
    """One process's recommender; its jobs run while it is entered."""

    def __init__(self, url: str, root: Path) -> None:
        self.store = StateStore.open(url, SETTINGS)
        self.metrics = Metrics()
        self.parts: Connected = connect(Registry(root), self.store, 1.0, lambda: NOW, self.metrics)
        known = KnownUsers(lambda: 0.0)
        rollout, feed, recorder, _ = self.parts
        self.recommender = Recommender(
            rollout, self.store, feed, recorder, known, lambda: NOW, lambda: "r", self.metrics
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Replica":
        with contextlib.suppress(Exception):
            await self.parts.feed.catch_up()
        await self.parts.rollout.start()
        _, feed, recorder, adapter = self.parts
        jobs = (feed.run, recorder.run, adapter.run, adapter.follow)
        self._tasks = [asyncio.create_task(job()) for job in jobs]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()

    async def took(self, user_id: str, *item_ids: str, **fields: Any) -> None:
        """Record one event an item."""
        value, event = fields.get("value"), fields.get("event")
        made = [
            Event(user_id, i, event, value, n, f"{user_id}-{i}-{value}")
            for n, i in enumerate(item_ids)
        ]
        await self.recommender.record(made)

    def interactions(self, item_id: str = "new") -> int:
        """How many have moved the item here; -1 where it is not known."""
        if self.recommender.model.catalogue.row(item_id) is None:
            return -1
        return self.recommender.item(item_id).interactions

    def placed(self, item_id: str = "new") -> tuple[list[float], float]:
        """Where the item lies."""
        catalogue = self.recommender.model.catalogue
        row = catalogue.row(item_id)
        assert row is not None
        (vector_D,), (bias,) = catalogue.vectors([row]), catalogue.biases([row])
        return vector_D.tolist(), float(bias)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; the jobs run meanwhile."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - what the jobs do has many conditions
                await asyncio.sleep(0.01)


@pytest.fixture
async def replica(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Replica]:
    publish_world(tmp_path, "v1", adapts_items=True)
    async with Replica(redis_server.url, tmp_path) as running:
        yield running


def expected(
    replica: Replica,
    likes: list[tuple[list[str], float]],
    exposure: int,
    prior: tuple[list[float], float] = ([0.0, 0.0], 0.05),
) -> tuple[list[float], float]:
    """Where an item must lie, from its users' other likes and the weight of each, by hand."""
    vectors_ND, bias_N = replica.recommender.model.trained
    rate = -1.0 if replica.recommender.model.version == "inverted" else 1.0
    states_SD = np.zeros((len(likes), 2), dtype=np.float32)
    for s, (item_ids, _) in enumerate(likes):
        if item_ids:
            rows = [ITEM_IDS.index(i) for i in item_ids]
            states_SD[s] = rate * vectors_ND[rows].mean(axis=0)
    offset_S = log_totals(states_SD, vectors_ND, bias_N).astype(np.float32)
    weight_S = np.asarray([weight for _, weight in likes], dtype=np.float32)
    prior_D = np.asarray(prior[0], dtype=np.float32)
    vector_D, bias = by_hand(prior_D, prior[1], states_SD, offset_S, weight_S, exposure)
    return vector_D.tolist(), bias


def is_exposed(replica: Replica, exposure: int) -> bool:
    """Whether the item was adapted with this exposure."""
    return replica.recommender.model.adapted["new"].exposure == exposure


def changed(adapter: ItemAdapter, *item_ids: str) -> None:
    """Items get a support, or another one."""
    adapter.supports.update((i, SupportChange(1, 1, 1, 1, 1)) for i in item_ids)
    adapter.mark(item_ids)


def assert_placed(found: tuple[list[float], float], right: tuple[list[float], float]) -> None:
    np.testing.assert_allclose(found[0], right[0], rtol=1e-5, atol=1e-6)
    assert found[1] == pytest.approx(right[1], rel=1e-5)


async def test_an_item_lies_where_the_graph_puts_it(replica: Replica) -> None:
    """States without the item, the first users alone, each of them once whatever the event weighs,
    and the rounded exposure: what anybody took of trained items until the last of them came."""
    await replica.recommender.put_items({"new": {}})
    likes: list[tuple[list[str], float]] = []
    for n in range(MAX_SUPPORT + 2):
        others = [WHITE[n], WHITE[n + 1]] if n % 3 else [BLACK[n]]
        event = "buy" if n == 1 else None
        await replica.took(f"u{n}", *others, "new", event=event)
        likes.append((others, 1.0))
        await replica.until(lambda: replica.interactions() == len(likes))
        if n == MAX_SUPPORT - 2:
            trained = [*BLACK, *WHITE[:-1]]
            await replica.took("somebody", *trained)
            await replica.parts.recorder.flush()
            taken = 1 + 2 + 2 + len(trained)
            assert await replica.store.item_supports.positives() == taken
            met = rounded_exposure(taken - 1 + len(likes))
            await replica.until(functools.partial(is_exposed, replica, met))
            assert_placed(replica.placed(), expected(replica, likes, met))
    met = rounded_exposure(taken + 1 - 1 + MAX_SUPPORT)
    assert_placed(replica.placed(), expected(replica, likes[:MAX_SUPPORT], met))


async def test_who_shares_the_taste_gets_the_item(replica: Replica) -> None:
    """Taken by users of white items, it rises for those of white items and not for the others."""
    await replica.recommender.put_items({"new": {}})
    for n in range(4):
        await replica.took(f"u{n}", WHITE[n], "new")
    await replica.took("white", *WHITE[10:13])
    await replica.took("black", *BLACK[10:13])

    async def place(user_id: str) -> int:
        answer = await replica.recommender.recommend(Query(k=100, user_id=user_id))
        return [item.item_id for item in answer.items].index("new")

    before = await place("white"), await place("black")
    await replica.until(lambda: replica.interactions() == 4)
    after = await place("white"), await place("black")
    assert after[0] < before[0]
    assert after[1] >= 29  # below what is black


async def test_a_repeated_event_counts_once(replica: Replica) -> None:
    """A user's first positive event on each trained item counts, in any number of calls, clicks and
    retries, beside what is no evidence and what is negative: as in training."""
    await replica.recommender.put_items({"new": {}})
    for _ in range(3):
        await replica.took("ada", WHITE[0], "new")
    await replica.until(lambda: replica.interactions() == 1)
    again = [
        Event("ada", i, None, None, 9, f"{i}-{n}") for i in ("new", WHITE[0]) for n in range(2)
    ]
    await replica.recommender.record(again)
    await replica.took("bob", WHITE[1], "new", value=1.0)
    await replica.took("bob", WHITE[1], value=5.0)
    clicks = [Event("bob", WHITE[n % 2], None, None, n, f"c{n}") for n in range(700)]
    await replica.recommender.record(clicks)
    await replica.parts.recorder.flush()
    assert await replica.store.item_supports.positives() == 1 + 2
    assert replica.interactions() == 1


async def test_the_last_word_counts(replica: Replica) -> None:
    """Who dislikes the item later does not count for it, until they like it again."""
    await replica.recommender.put_items({"new": {}})
    await replica.took("ada", WHITE[0], "new", value=5.0)
    await replica.until(lambda: replica.interactions() == 1)
    await replica.recommender.record([Event("ada", "new", None, 1.0, 50, "not")])
    await replica.until(lambda: replica.interactions() == 0)
    assert_placed(replica.placed(), ([0.0, 0.0], 0.05))
    await replica.recommender.record([Event("ada", "new", None, 4.0, 60, "yes")])
    await replica.until(lambda: replica.interactions() == 1)


async def test_an_item_of_the_bundle_without_training_moves(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """It need not be put; a trained item never moves."""
    publish_world(tmp_path, "v1", adapts_items=True, kernel=COLOUR_KERNEL)
    async with Replica(redis_server.url, tmp_path) as replica:
        start = replica.placed(WHITE[-1])
        await replica.took("ada", BLACK[0], WHITE[-1], WHITE[0])
        await replica.until(lambda: replica.interactions(WHITE[-1]) == 1)
        likes = [([BLACK[0], WHITE[0]], 1.0)]
        assert_placed(replica.placed(WHITE[-1]), expected(replica, likes, 1, start))
        assert not replica.recommender.item(WHITE[-1]).trained
        assert replica.interactions(WHITE[0]) == 0
        assert list(replica.parts.adapter.supports) == [WHITE[-1]]


async def test_changed_features_move_from_there(replica: Replica) -> None:
    """The prior is made anew and the same interactions move it; hidden and put again, too."""
    await replica.recommender.put_items({"new": {"colour": "black"}})
    await replica.took("ada", WHITE[0], "new")
    await replica.until(lambda: replica.interactions() == 1)
    likes = [([WHITE[0]], 1.0)]
    assert_placed(replica.placed(), expected(replica, likes, 1, ([1.0, 0.0], 0.05)))
    await replica.recommender.put_items({"new": {"colour": "white"}})
    assert replica.interactions() == 0
    await replica.until(lambda: replica.interactions() == 1)
    right = expected(replica, likes, 1, ([0.0, 1.0], 0.05))
    assert_placed(replica.placed(), right)
    await replica.recommender.hide_item("new")
    await replica.recommender.put_items({"new": {"colour": "white"}})
    await replica.until(lambda: replica.interactions() == 1)
    assert_placed(replica.placed(), right)


async def test_a_new_model_adapts_from_the_same_record(replica: Replica, tmp_path: Path) -> None:
    """It serves with its items adapted from the first moment; the one before finds its own."""
    await replica.recommender.put_items({"new": {}})
    await replica.took("ada", WHITE[0], "new")
    await replica.until(lambda: replica.interactions() == 1)
    before = replica.placed()
    publish_world(tmp_path, "inverted", inverted=True, adapts_items=True)
    await replica.parts.rollout.check()
    assert replica.recommender.model.version == "inverted"
    likes = [([WHITE[0]], 1.0)]
    assert_placed(replica.placed(), expected(replica, likes, 1))
    assert replica.placed() != before
    publish_world(tmp_path, "still")
    await replica.parts.rollout.check()
    assert (replica.interactions(), replica.placed()[0]) == (0, [0.0, 0.0])
    await replica.took("bob", WHITE[1], "new")
    Registry(tmp_path).promote("v1", NOW)
    await replica.parts.rollout.check()
    assert_placed(replica.placed(), before)


async def test_a_model_that_adapts_no_items_keeps_nothing(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Without the graph no record is written, and nothing is counted."""
    publish_world(tmp_path, "v1")
    async with Replica(redis_server.url, tmp_path) as replica:
        await replica.recommender.put_items({"new": {}})
        await replica.took("ada", WHITE[0], "new")
        await replica.recommender.recommend(Query(user_id="ada"))
        await replica.parts.recorder.flush()
        await replica.parts.adapter.adapt_changed()
        with redis_server.client() as client:
            keys = client.keys("{items}:*")
        assert sorted(keys) == [b"{items}:changes", b"{items}:meta", b"{items}:state"]


async def test_replicas_agree(replica: Replica, redis_server: RedisServer, tmp_path: Path) -> None:
    """Another replica follows; one that starts later begins where the others are."""
    async with Replica(redis_server.url, tmp_path) as other:
        await replica.recommender.put_items({"new": {"colour": "black"}})
        await replica.took("ada", WHITE[0], "new")
        await other.until(lambda: other.interactions() == 1)
        await other.took("bob", BLACK[0], "new")
        await replica.until(lambda: replica.interactions() == 2)
        await other.until(lambda: other.interactions() == 2)
        await replica.until(lambda: replica.placed() == other.placed())
        async with Replica(redis_server.url, tmp_path) as late:
            assert (late.interactions(), late.placed()) == (2, replica.placed())


async def test_erasure_moves_the_item_back(replica: Replica) -> None:
    """Nothing that rests on an erased user stays, and who comes back counts anew, later."""
    await replica.recommender.put_items({"new": {}})
    await replica.took("ada", WHITE[0], "new")
    await replica.until(lambda: replica.interactions() == 1)
    await replica.recommender.erase_user("ada")
    await replica.until(lambda: replica.interactions() == 0)
    assert replica.placed()[0] == [0.0, 0.0]
    await replica.took("ada", WHITE[0], "new")
    await replica.parts.recorder.flush()
    assert await replica.store.item_supports.of_user(b"ada") == {}


async def test_a_merged_user_counts_once(replica: Replica) -> None:
    """Visitor and known user both took the item: one of them is left."""
    await replica.recommender.put_items({"new": {}, "other": {}})
    await replica.took("guest", WHITE[0], "new", "other")
    await replica.took("ada", BLACK[0], "new")
    await replica.until(lambda: replica.interactions() == 2)
    await replica.recommender.merge_users("ada", "guest")
    await replica.until(lambda: (replica.interactions(), replica.interactions("other")) == (1, 1))
    assert await replica.store.item_supports.of_user(b"guest") == {}
    assert (await replica.store.item_supports.of_user(b"ada")).keys() == {"new", "other"}


async def test_what_was_not_written_is_made_good(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is durable, the process dies before the record: the user's next list heals it."""
    await replica.recommender.put_items({"new": {}})
    with monkeypatch.context() as patch:
        patch.setattr(recording, "MAX_PENDING_USERS", 0)  # as good as dead
        await replica.took("ada", WHITE[0], "new")
        await replica.recommender.recommend(Query(user_id="ada"))
        await replica.parts.recorder.flush()
        assert await replica.store.item_supports.of_user(b"ada") == {}
    await replica.recommender.recommend(Query(user_id="ada"))
    await replica.until(lambda: replica.interactions() == 1)


async def test_events_before_the_item_count_once_it_comes(replica: Replica) -> None:
    """An event on an item that is not put yet counts when the user is seen again."""
    await replica.took("ada", WHITE[0], "new")
    await replica.parts.recorder.flush()
    await replica.recommender.put_items({"new": {}})
    await replica.recommender.recommend(Query(user_id="ada"))
    await replica.until(lambda: replica.interactions() == 1)


async def test_a_redis_that_dies_in_between_is_waited_for(short_dir: Path, tmp_path: Path) -> None:
    """Killed after the event was stored and before the record: it is written when Redis is back."""
    publish_world(tmp_path, "v1", adapts_items=True)
    server = RedisServer(find_redis_server(), short_dir, ("--appendonly", "yes"))
    server.start()
    async with Replica(server.url, tmp_path) as replica:
        await replica.recommender.put_items({"new": {}})
        await replica.took("ada", WHITE[0])
        stored = Event("ada", "new", None, None, 5, "e")
        await replica.store.append([stored])
        server.kill()
        replica.parts.recorder.note_events([stored], 0)
        assert replica.interactions() == 0
        server.start()
        await replica.until(lambda: replica.interactions() == 1)
    server.kill()


async def test_a_busy_item_is_not_adapted_with_every_event(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of users at once are a few rounds; once full, its events cost nothing more."""
    await replica.recommender.put_items({"new": {}})
    crowd = [Event(f"u{n}", "new", None, None, n, f"e{n}") for n in range(400)]
    for n in range(0, 400, 20):
        await replica.recommender.record(crowd[n : n + 20])
    supports = replica.parts.adapter.supports
    await replica.until(lambda: "new" in supports and supports["new"].users == MAX_ITEM_USERS)
    await replica.until(lambda: replica.interactions() == MAX_ITEM_USERS)
    moves = replica.metrics.registry.get_sample_value("recsvc_items_adapted_total")
    assert moves is not None
    assert moves < 40
    noted: list[str] = []
    monkeypatch.setattr(replica.parts.recorder, "note", lambda user, _: noted.append(user))
    await replica.took("late", "new")
    assert noted == []


async def test_a_model_that_comes_back_takes_up_the_exposure(
    replica: Replica, tmp_path: Path
) -> None:
    """After a rollback an item lies where its exposure of today puts it, not that of before."""
    await replica.recommender.put_items({"new": {}})
    await replica.took("ada", WHITE[0], "new")
    await replica.until(lambda: replica.interactions() == 1)
    publish_world(tmp_path, "inverted", inverted=True, adapts_items=True)
    await replica.parts.rollout.check()
    await replica.took("somebody", *BLACK)
    exposure = rounded_exposure(1 + len(BLACK))
    await replica.until(lambda: is_exposed(replica, exposure))
    Registry(tmp_path).promote("v1", NOW)
    await replica.parts.rollout.check()
    assert replica.recommender.model.version == "v1"
    await replica.until(lambda: is_exposed(replica, exposure))
    assert_placed(replica.placed(), expected(replica, [([WHITE[0]], 1.0)], exposure))


async def test_a_bulk_load_delays_no_other_item(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed last is looked at with the next batch, and what waits longest with each."""
    adapter, looked_at = replica.parts.adapter, list[str]()

    async def note(_: object, item_ids: list[str]) -> None:
        looked_at.extend(item_ids)
        if len(looked_at) == len(item_ids):  # the first batch: something changes meanwhile
            changed(adapter, "late")

    monkeypatch.setattr(adapter, "_adapt", note)
    bulk = [f"item-{n}" for n in range(1000)]
    changed(adapter, *bulk)
    await adapter.adapt_changed()
    assert {bulk[0], bulk[-1]} <= set(looked_at[:2])
    assert "late" in looked_at[: 2 * 32]
    while len(looked_at) < 1001:
        await adapter.adapt_changed()
    assert sorted(looked_at) == sorted([*bulk, "late"])


async def test_an_item_that_keeps_changing_is_adapted_once_a_round(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes while it is adapted waits for the next round, however long the round is."""
    adapter, looked_at = replica.parts.adapter, list[str]()

    async def note(_: object, item_ids: list[str]) -> None:
        looked_at.extend(item_ids)
        changed(adapter, "busy")

    monkeypatch.setattr(adapter, "_adapt", note)
    changed(adapter, "busy")
    for rounds in (1, 2):
        await adapter.adapt_changed()
        assert looked_at == ["busy"] * rounds


async def test_a_bulk_load_of_events_delays_no_other_user(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many users who wait, who came last is written with the first batch; all of them are."""
    written: list[str] = []
    put = replica.store.item_supports.put

    async def note(positives: int, records: list[UserRecord]) -> list[bool]:
        written.extend(r.user_id for r in records)
        return await put(positives, records)

    monkeypatch.setattr(replica.store.item_supports, "put", note)
    await replica.recommender.put_items({"new": {}})
    users = [f"u{n}" for n in range(200)]
    await replica.recommender.record([Event(u, "new", None, None, 1, "e") for u in users])
    await replica.until(lambda: len(written) == len(users))
    assert {users[0], users[-1]} <= set(written[:2])
    assert sorted(written) == sorted(users)


async def test_steady_events_are_written_at_a_pace(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a write the next one waits: events that come meanwhile go together."""
    monkeypatch.setattr(recording, "FLUSH_S", 3600.0)
    counts: list[int] = []

    async def put(positives: int, records: list[UserRecord]) -> list[bool]:
        counts.append(positives)
        await replica.took(f"u{len(counts)}-again", *WHITE[1:3])  # more comes with every write
        return [True for _ in records]

    monkeypatch.setattr(replica.store.item_supports, "put", put)
    await replica.took("u", WHITE[0])
    await replica.until(lambda: counts == [1])
    for _ in range(10):
        await replica.took("v", WHITE[0])
    assert counts == [1]
    await replica.parts.recorder.flush()
    assert counts == [1, 3]
