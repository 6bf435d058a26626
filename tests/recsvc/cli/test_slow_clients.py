"""Clients that send slowly, or not at all, over real sockets: nobody else is kept waiting."""

import json
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.recsvc.bundles import publish_world
from tests.recsvc.redis_server import RedisServer, eventually
from tests.recsvc.service_process import ServiceProcess

IN_FLIGHT = 3
BODY = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """The checkerboard world."""
    publish_world(tmp_path / "registry", "v1")
    return tmp_path / "registry"


def serving(registry: Path, redis: RedisServer, **seconds: float) -> ServiceProcess:
    """A service of few places, with some settings that are times."""
    environment = {f"RECSVC_{name.upper()}": str(value) for name, value in seconds.items()}
    environment["RECSVC_MAX_REQUESTS_IN_FLIGHT"] = str(IN_FLIGHT)
    return ServiceProcess(registry, redis_url=redis.url, environment=environment)


def connect(service: ServiceProcess, sent: bytes) -> socket.socket:
    """A connection that sends some bytes."""
    url = service.http.base_url
    connection = socket.create_connection((url.host, url.port or 80), timeout=30)
    connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> tuple[bytes, dict[str, object] | None]:
    """Status line and problem of what is answered until the connection closes."""
    head, _, body = b"".join(iter(lambda: connection.recv(65_536), b"")).partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], json.loads(body) if body else None


def test_unsent_bodies_hold_no_place(registry: Path, redis_server: RedisServer) -> None:
    """Many times more idle senders than places: everybody else is answered, and they get 408."""
    with (
        serving(registry, redis_server, receive_timeout_s=3) as service,
        ExitStack() as stack,
    ):
        idle = [stack.enter_context(connect(service, BODY)) for _ in range(7 * IN_FLIGHT)]
        others = [service.http.get("/v1/models").status_code for _ in range(20)]
        assert others == [200] * 20
        for connection in idle:
            status, problem = answer(connection)
            assert status == b"HTTP/1.1 408 Request Timeout"
            assert problem is not None
            assert "receive_timeout_s" in str(problem["detail"])
        assert "Traceback" not in service.log


def test_heads_have_a_deadline_and_a_limit(registry: Path, redis_server: RedisServer) -> None:
    """A head in drops is a 408 and an endless one a 431, on a used connection too; who asks nothing
    is hung up on; and a head that comes in time is answered, whatever came before it."""
    with (
        serving(registry, redis_server, receive_timeout_s=1) as service,
        ExitStack() as stack,
    ):
        whole = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
        silent = stack.enter_context(connect(service, b""))
        first = stack.enter_context(connect(service, b"GET /livez HTTP/1.1\r\nHo"))
        later = stack.enter_context(connect(service, whole))
        later.recv(65_536)
        later.sendall(b"GET /livez HTTP/1.1\r\n")
        endless = stack.enter_context(connect(service, b"GET /livez HTTP/1.1\r\nX: "))
        with pytest.raises(OSError):  # noqa: PT011 - broken or reset, whichever comes first
            endless.sendall(b"x" * 50_000_000)
        slow = stack.enter_context(connect(service, whole[:9]))
        time.sleep(0.3)
        slow.sendall(whole[9:])
        time.sleep(1)
        slow.sendall(whole)
        assert slow.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert answer(silent) == (b"", None)
        for connection in (first, later):
            status, problem = answer(connection)
            assert status == b"HTTP/1.1 408 Request Timeout"
            assert problem is not None
            assert "head" in str(problem["detail"])
        too_large = stack.enter_context(connect(service, b"GET / HTTP/1.1\r\nX: " + b"x" * 66_000))
        assert answer(too_large)[0] == b"HTTP/1.1 431 Request Header Fields Too Large"


def test_a_stop_signal_answers_what_is_open(registry: Path, redis_server: RedisServer) -> None:
    """A body that never comes is a 503 problem at the end of the grace time, and no traceback."""
    with (
        serving(registry, redis_server, stop_timeout_s=1) as service,
        connect(service, BODY) as open_,
    ):
        eventually(lambda: service.http.get("/livez").status_code == 200, "it was read")
        service.send(signal.SIGTERM)
        status, problem = answer(open_)
        assert status == b"HTTP/1.1 503 Service Unavailable"
        assert problem is not None
        assert problem["type"] == "urn:recsvc:problem:unavailable"
        eventually(lambda: service.has_ended, "it ends")
        assert "Traceback" not in service.log
