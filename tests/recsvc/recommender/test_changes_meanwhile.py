"""What changes while a request waits for the store counts in its answer."""

import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recsvc.contract.registry import Registry
from recsvc.contract.schema import FeatureSchema
from recsvc.recommender import ItemFeed, Query, Recommender, connect
from recsvc.recommender.known_users import KnownUsers
from recsvc.recommender.service import LONG_CHARS
from recsvc.settings import Settings
from recsvc.state.events import Event
from recsvc.state.store import StateStore
from recsvc.telemetry import Metrics
from tests.recsvc.bundles import BLACK, WHITE, publish_world
from tests.recsvc.redis_server import RedisServer

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[StateStore]:
    opened = StateStore.open(redis_server.url, Settings(partitions=8, redis_timeout_s=5.0))
    yield opened
    await opened.close()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The thread of each call that encodes features."""
    encode, found = FeatureSchema.encode, list[threading.Thread]()

    def noted(schema: FeatureSchema, rows: Sequence[Mapping[str, Any]]) -> Any:
        found.append(threading.current_thread())
        return encode(schema, rows)

    monkeypatch.setattr(FeatureSchema, "encode", noted)
    return found


async def made(store: StateStore, root: Path) -> tuple[Recommender, ItemFeed]:
    """A recommender that keeps every state, and the feed that tells it of items."""
    publish_world(root, "v1")
    metrics = Metrics()
    rollout, feed, recorder, _ = connect(Registry(root), store, 1.0, lambda: NOW, metrics)
    await rollout.start()
    known = KnownUsers(lambda: 0.0)
    recommender = Recommender(
        rollout, store, feed, recorder, known, lambda: NOW, lambda: "r", metrics, lambda: 0.0, -1.0
    )
    return recommender, feed


@pytest.mark.parametrize("call", ["read_user", "write_state"])
async def test_an_item_that_goes_or_comes_meanwhile(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Hidden while the request waits, even in its support: not in the list. Added: in it."""
    recommender, feed = await made(store, tmp_path)
    clicked = [Event("u", item_id, None, None, 1, item_id) for item_id in (WHITE[0], BLACK[0])]
    await recommender.record(clicked)
    waited_for = getattr(store, call)

    async def meanwhile(*args: Any) -> Any:
        answer = await waited_for(*args)
        await feed.note([(WHITE[0], None), (WHITE[1], None), ("new", {"colour": "white"})])
        return answer

    monkeypatch.setattr(store, call, meanwhile)
    query = Query(k=100, user_id="u", exclude_seen=False)
    items = [item.item_id for item in (await recommender.recommend(query)).items]
    assert "new" in items
    assert not {WHITE[0], WHITE[1]} & set(items)
    assert len(items) == len(set(items)) == 64 - 2 + 1


async def test_the_event_loop_goes_on_while_features_are_read(
    store: StateStore, tmp_path: Path, threads: list[threading.Thread]
) -> None:
    """Features of items, and long texts of users, are encoded in another thread."""
    recommender, _ = await made(store, tmp_path)
    threads.clear()
    await recommender.put_items({f"n{i}": {"colour": "black"} for i in range(40)})
    await recommender.put_user("u", {"about": "x" * LONG_CHARS})
    await recommender.recommend(Query(user_id="u"))
    assert len(threads) >= 40 + 1 + 2
    assert threading.current_thread() not in threads


async def test_a_model_that_comes_back_catches_up_aside(
    store: StateStore, tmp_path: Path, threads: list[threading.Thread]
) -> None:
    """What was put while another version served is encoded in another thread, then it serves."""
    recommender, feed = await made(store, tmp_path)
    registry = publish_world(tmp_path, "v2")
    await recommender.rollout.check()
    await feed.note([(f"n{i}", {"colour": "white"}) for i in range(40)])
    registry.rollback(NOW)
    threads.clear()
    await recommender.rollout.check()
    assert recommender.model.version == "v1"
    assert recommender.model.catalogue.row("n39") is not None
    assert threads
    assert threading.current_thread() not in threads
