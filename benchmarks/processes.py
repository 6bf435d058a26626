"""A real `recsvc serve` for benchmarks: its start, and its processes' memory and CPU time.

Knows nothing of what is asked of the service. Reads /proc, so it runs on Linux.
"""

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RECSVC = Path(sys.executable).with_name("recsvc")
START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 30.0
_POLL_S = 0.005
_ADDRESS = re.compile(r"recsvc: http://([^\s:]+):(\d+)")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Role = Literal["service", "worker", "redis", "other"]


@dataclass(frozen=True, slots=True)
class Service:
    """A service that answers."""

    pid: int
    host: str
    port: int
    checked_s: float
    """From the process's start until it named its address: all that can be wrong is checked."""
    ready_s: float
    """From the process's start until /readyz answered 200."""


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process holds and has used."""

    pid: int
    role: Role
    rss_mb: float
    """Resident set in 10^6 bytes: shared pages count in full."""
    pss_mb: float
    """Proportional set: a page shared by n processes counts 1/n."""
    cpu_s: float
    """User and system time so far."""


@contextmanager
def serve(registry: Path, data_dir: Path, workers: int = 1) -> Iterator[Service]:
    """Start a service with embedded Redis, wait until it is ready, stop it at the end.

    Args:
        registry: of the bundles.
        data_dir: of the embedded Redis; its path short enough for a unix socket.
        workers: server processes.

    Raises:
        SystemExit: the service ended or was not ready in time; shows what it wrote.
    """
    command = [str(RECSVC), "serve", "--registry", str(registry), "--port", "0"]
    command += ["--data-dir", str(data_dir), "--workers", str(workers), "--log-level", "warning"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("RECSVC_")}
    with tempfile.NamedTemporaryFile(prefix="recsvc-log-") as log:
        started_s = time.perf_counter()
        process = subprocess.Popen(command, env=own, stdout=log, stderr=log)
        try:
            yield _wait_until_ready(process, Path(log.name), started_s)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=STOP_DEADLINE_S)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, started_s: float) -> Service:
    address: re.Match[str] | None = None
    checked_s = 0.0
    while (elapsed_s := time.perf_counter() - started_s) < START_DEADLINE_S:
        if process.poll() is not None:
            raise SystemExit(f"the service ended at its start:\n{log.read_text()}")
        if address is None:
            address = _ADDRESS.search(log.read_text())
            checked_s = elapsed_s
        elif _is_ready(address[1], int(address[2])):
            ready_s = time.perf_counter() - started_s
            return Service(process.pid, address[1], int(address[2]), checked_s, ready_s)
        time.sleep(_POLL_S)
    raise SystemExit(f"the service was not ready in {START_DEADLINE_S:g} s:\n{log.read_text()}")


def _is_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def process_uses(service: Service) -> list[ProcessUse]:
    """The service and every process beneath it, as they are now, the service first."""
    uses = []
    for pid in _tree(service.pid):
        try:
            rss_mb, pss_mb = _memory_mb(pid)
            role: Role = "service" if pid == service.pid else _role(pid)
            uses.append(ProcessUse(pid, role, rss_mb, pss_mb, _cpu_s(pid)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return uses


def cpu_seconds(service: Service) -> dict[str, float]:
    """CPU time so far of the embedded Redis and of all other processes of the service."""
    spent = {"service": 0.0, "redis": 0.0}
    for use in process_uses(service):
        spent["redis" if use.role == "redis" else "service"] += use.cpu_s
    return spent


def peak_rss_mib(pid: int) -> dict[int, float]:
    """The most that a process and every process beneath it held resident so far, in 2^20 bytes."""
    peaks = {}
    for member in _tree(pid):
        try:
            found = re.search(r"^VmHWM:\s+(\d+) kB", _proc(member, "status"), re.M)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if found:  # one that has ended and is not waited for has no memory
            peaks[member] = int(found[1]) / 1024
    return peaks


def _proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended meanwhile
        for child in found:
            yield from _tree(int(child))


def _role(pid: int) -> Role:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    if b"redis-server" in command:
        return "redis"
    return "worker" if b"spawn_main" in command else "other"


def _memory_mb(pid: int) -> tuple[float, float]:
    found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", _proc(pid, "smaps_rollup"), re.M))
    return int(found["Rss"]) * 1024 / 1e6, int(found["Pss"]) * 1024 / 1e6


def _cpu_s(pid: int) -> float:
    """utime and stime, fields 14 and 15 of proc(5)'s stat; the name before them is in brackets."""
    fields = _proc(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
