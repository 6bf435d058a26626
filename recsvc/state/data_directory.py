"""The files that an embedded Redis and its service share in one data directory.

    DIR/service.lock   locked by the service; holds its process id
    DIR/server.lock    locked by the redis-server process itself, so an orphan is known by it
    DIR/redis.pid      process id of whoever holds server.lock
    DIR/redis.sock     where it listens; elsewhere if the path is too long for a unix socket
    DIR/redis.log      what it says
    DIR/appendonly...  the data

Knows nothing of how the server is started.
"""

import fcntl
import hashlib
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import IO

from recsvc.errors import EmbeddedRedisError

MAX_SOCKET_PATH_BYTES = 103
"""The shortest limit among the systems that have unix sockets."""
STOP_TIMEOUT_S = 10.0
"""A server that takes longer to stop is killed."""
POLL_S = 0.005
_MAX_LOG_BYTES = 10_000_000


def pid_file(data_dir: Path) -> Path:
    """Where the server's process id is."""
    return data_dir / "redis.pid"


def open_log(data_dir: Path) -> IO[bytes]:
    """The server's log, to append to; begun anew when it has grown too long."""
    path = data_dir / "redis.log"
    grown = path.exists() and path.stat().st_size > _MAX_LOG_BYTES
    return path.open("wb" if grown else "ab")


def log_tail(data_dir: Path, lines: int = 10) -> str:
    """The last lines of the server's log."""
    try:
        text = (data_dir / "redis.log").read_text(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


def lock_for_service(data_dir: Path) -> IO[str]:
    """The service's lock, held until it is closed.

    Raises:
        EmbeddedRedisError: another service holds it.
        OSError: the directory cannot be written.
    """
    stream = (data_dir / "service.lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        stream.seek(0)
        owner = stream.read().strip() or "unknown"
        stream.close()
        raise EmbeddedRedisError(
            f"data directory {data_dir} is in use by another service (process {owner}); "
            "stop it, or give this one its own --data-dir"
        ) from exc
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream


def lock_for_server(data_dir: Path) -> IO[bytes]:
    """The server's lock, after ending an orphan that still holds it. A child inherits it.

    Raises:
        EmbeddedRedisError: the orphan cannot be ended.
    """
    stream = (data_dir / "server.lock").open("ab")
    for ending in (None, signal.SIGTERM, signal.SIGKILL):
        if ending is not None:
            _signal_orphan(data_dir, ending)
        deadline = time.monotonic() + (STOP_TIMEOUT_S if ending else 0.0)
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
                time.sleep(POLL_S)
            else:
                return stream
    stream.close()
    raise EmbeddedRedisError(
        f"a redis-server from an earlier run still uses {data_dir} and cannot be stopped; end it"
    )


def _signal_orphan(data_dir: Path, ending: signal.Signals) -> None:
    # The file is written under the lock by the process that holds it: it names the holder.
    try:
        os.kill(int(pid_file(data_dir).read_text(encoding="ascii")), ending)
    except (ProcessLookupError, FileNotFoundError, ValueError):
        return


def socket_path(data_dir: Path) -> Path:
    """Where the server listens: in the directory, or in a private one with a short path.

    Raises:
        PermissionError: somebody else made the private one.
    """
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    name = hashlib.blake2b(os.fsencode(data_dir.resolve()), digest_size=8).hexdigest()
    short = Path(tempfile.gettempdir()) / f"recsvc-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise PermissionError(f"{short} belongs to another user")
    return short / "redis.sock"
