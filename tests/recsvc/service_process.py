"""A real `recsvc serve` process for tests, spoken to over real HTTP."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx

from tests.recsvc.redis_server import eventually

RECSVC = Path(sys.executable).with_name("recsvc")
_ADDRESS = re.compile(r"recsvc: (http://\S+)")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without the service's own settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RECSVC_")}
    return {**inherited, **(extra or {})}


class ServiceProcess:
    """One service, its log in a file of its own.

    Args:
        registry: of the bundles.
        redis_url: None: the embedded Redis.
        data_dir: of the embedded Redis; short enough for a unix socket.
        options: further flags.
        environment: further variables.
    """

    def __init__(
        self,
        registry: Path,
        *,
        redis_url: str | None = None,
        data_dir: Path | None = None,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.registry = registry
        self._command = [str(RECSVC), "serve", "--registry", str(registry), "--port", "0", *options]
        if redis_url is not None:
            self._command += ["--redis-url", redis_url]
        if data_dir is not None:
            self._command += ["--data-dir", str(data_dir)]
        fast = {"RECSVC_REGISTRY_POLL_S": "0.05"}
        self._environment = clean_environment({**fast, **(environment or {})})
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._client: httpx.Client | None = None

    def start(self) -> "ServiceProcess":
        """Start it and wait until it is ready."""
        self._log = tempfile.NamedTemporaryFile(prefix="recsvc-log-")  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=self._log, stderr=self._log
        )
        try:
            address = eventually(self._address, "the service names its address")
            self._client = httpx.Client(base_url=address, timeout=30.0)
            eventually(self._is_ready, "the service is ready")
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        return self

    @property
    def http(self) -> httpx.Client:
        """A client of the service."""
        assert self._client is not None
        return self._client

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it wrote so far."""
        assert self._log is not None
        return Path(self._log.name).read_text()

    @property
    def has_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; do not wait."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        assert self._process is not None
        if self._client is not None:
            self._client.close()
        self._process.send_signal(number)
        code = self._process.wait(timeout=30)
        assert self._log is not None
        self._log.close()
        return code

    def __enter__(self) -> "ServiceProcess":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.stop()

    def _address(self) -> str | None:
        assert self._process is not None
        assert self._process.poll() is None, f"the service ended:\n{self.log}"
        match = _ADDRESS.search(self.log)
        return match[1] if match else None

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the service ended:\n{self.log}"
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False
