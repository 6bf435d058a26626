"""Adapted states in the store: kept where they were dear, never wrong."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recsvc.contract.registry import Registry
from recsvc.recommender import Query, Recommender, SessionEvent, connect
from recsvc.recommender.known_users import KnownUsers
from recsvc.settings import Settings
from recsvc.state.events import Event
from recsvc.state.store import StateStore
from recsvc.telemetry import Metrics
from tests.recsvc.bundles import BLACK, COLOUR_KERNEL, WHITE, publish_world
from tests.recsvc.kernels import WorldKernel
from tests.recsvc.redis_server import RedisServer

pytestmark = pytest.mark.anyio
_numbers = itertools.count()


def event(item_id: str) -> Event:
    number = next(_numbers)
    return Event("u", item_id, None, None, number, f"e{number}")


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[StateStore]:
    opened = StateStore.open(redis_server.url, Settings(partitions=8, redis_timeout_s=5.0))
    yield opened
    await opened.close()


async def made(store: StateStore, root: Path, keep_above_s: float = -1.0) -> Recommender:
    """A recommender that keeps every state, or none."""
    metrics = Metrics()
    rollout, feed, recorder, _ = connect(
        Registry(root), store, 1.0, lambda: datetime.now(UTC), metrics
    )
    await rollout.start()
    return Recommender(
        rollout,
        store,
        feed,
        recorder,
        KnownUsers(lambda: 0.0),
        lambda: datetime.now(UTC),
        lambda: "r",
        metrics,
        lambda: 0.0,
        keep_above_s,
    )


async def kept(store: StateStore, version: str = "v1") -> bytes | None:
    return (await store.read_user("u", version)).state


async def first(recommender: Recommender) -> str:
    return (await recommender.recommend(Query(k=1, user_id="u"))).items[0].item_id


@pytest.mark.parametrize("kernel", [None, COLOUR_KERNEL], ids=["vector", "pooled"])
async def test_a_state_is_kept_and_used(
    store: StateStore, tmp_path: Path, kernel: WorldKernel | None
) -> None:
    """A second read takes the state from the store: what lies there decides the list."""
    publish_world(tmp_path, "v1", kernel=kernel)
    recommender = await made(store, tmp_path)
    await recommender.record([event(WHITE[0])])
    assert WHITE[1] == await first(recommender)
    assert await kept(store) is not None
    revision = (await store.read_user("u", "v1")).revision
    black = b"\x00\x00\x80\x3f\x00\x00\x00\x00"
    assert await store.write_state("u", "v1", revision, black)
    assert BLACK[0] == await first(recommender)


async def test_a_kept_state_scores_as_a_new_one(store: StateStore, tmp_path: Path) -> None:
    """The kernel's part rests on the events, so that a kept state needs none of it."""
    publish_world(tmp_path, "v1", kernel=COLOUR_KERNEL)
    recommender = await made(store, tmp_path)
    await recommender.record([event(WHITE[0]), event(BLACK[1]), event(WHITE[5])])
    query = Query(k=64, user_id="u", explain=True)
    computed = (await recommender.recommend(query)).items
    assert await kept(store) is not None
    assert computed == (await recommender.recommend(query)).items


async def test_a_kernel_comes_with_its_model(store: StateStore, tmp_path: Path) -> None:
    """After a swap the same user is scored with the new model's kernel, and after the next not."""
    publish_world(tmp_path, "v1")
    recommender = await made(store, tmp_path)
    await recommender.record([event(WHITE[0])])
    query = Query(k=3, user_id="u")
    by_vector = (await recommender.recommend(query)).items
    publish_world(tmp_path, "v2", kernel=COLOUR_KERNEL)
    await recommender.rollout.check()
    by_both = (await recommender.recommend(query)).items
    assert [i.item_id for i in by_vector] == [i.item_id for i in by_both]
    assert all(b.score > v.score for v, b in zip(by_vector, by_both, strict=True))
    Registry(tmp_path).rollback(datetime.now(UTC))
    await recommender.rollout.check()
    assert by_vector == (await recommender.recommend(query)).items


async def test_an_event_makes_the_kept_state_void(store: StateStore, tmp_path: Path) -> None:
    """After another event the state is computed anew."""
    publish_world(tmp_path, "v1")
    recommender = await made(store, tmp_path)
    await recommender.record([event(WHITE[0])])
    assert WHITE[1] == await first(recommender)
    await recommender.record([event(BLACK[0]), event(BLACK[1])])
    assert await kept(store) is None
    assert BLACK[2] == await first(recommender)


async def test_a_cheap_state_is_not_kept(store: StateStore, tmp_path: Path) -> None:
    """What costs less than asking for it is computed each time."""
    publish_world(tmp_path, "v1")
    recommender = await made(store, tmp_path, keep_above_s=1.0)
    await recommender.record([event(WHITE[0])])
    assert WHITE[1] == await first(recommender)
    assert await kept(store) is None


async def test_a_state_that_rests_on_added_items_is_not_kept(
    store: StateStore, tmp_path: Path
) -> None:
    """Added items may change and unknown ones may come, without an event of the user."""
    publish_world(tmp_path, "v1")
    recommender = await made(store, tmp_path)
    await recommender.record([event("later")])
    assert BLACK[0] == await first(recommender)
    await recommender.put_items({"later": {"colour": "white"}})
    assert WHITE[0] == await first(recommender)
    await recommender.put_items({"later": {"colour": "black"}})
    assert BLACK[0] == await first(recommender)
    assert await kept(store) is None


async def test_a_session_is_never_kept(store: StateStore, tmp_path: Path) -> None:
    """A state that rests on a request's own support or features is that request's alone."""
    publish_world(tmp_path, "v1")
    recommender = await made(store, tmp_path)
    await recommender.record([event(WHITE[0])])
    session = (SessionEvent(BLACK[0]), SessionEvent(BLACK[1]))
    await recommender.recommend(Query(user_id="u", support=session))
    await recommender.recommend(Query(user_id="u", user_features={"side": "black"}))
    assert await kept(store) is None


async def test_a_state_belongs_to_its_model(store: StateStore, tmp_path: Path) -> None:
    """Another model does not read it."""
    publish_world(tmp_path, "v1")
    recommender = await made(store, tmp_path)
    await recommender.record([event(WHITE[0])])
    assert WHITE[1] == await first(recommender)
    publish_world(tmp_path, "v2", inverted=True)
    await recommender.rollout.check()
    assert BLACK[0] == await first(recommender)
    assert await kept(store, "v2") is not None
