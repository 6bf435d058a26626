"""`recsvc serve`: check everything that can be wrong, then run the workers.

The parent checks the settings, the bundle, the port and Redis, so that each mistake is one line
and not a worker's traceback. It owns the embedded Redis; workers get everything by environment.
"""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, cast

import typer
import uvicorn
from uvicorn.supervisors import Multiprocess

from recsvc.bundle import load_bundle
from recsvc.cli.http_protocol import ServiceProtocol
from recsvc.cli.models import current_version
from recsvc.contract.registry import Registry
from recsvc.errors import StartError, StateUnavailableError
from recsvc.settings import ENV_PREFIX, Settings, mask_url
from recsvc.state.embedded import EmbeddedRedis
from recsvc.state.store import StateStore
from recsvc.telemetry import MULTIPROC_VARIABLE, configure_logging


def run_service(flags: Mapping[str, Any]) -> None:
    """Serve until a signal.

    Args:
        flags: settings by name as given on the command line; None is not given.

    Raises:
        StartError: a setting is wrong, the port is taken, Redis does not fit.
        ContractError: there is no bundle that may be served.
    """
    settings = Settings.load(flags)
    configure_logging(settings.log_level, settings.log_format)
    registry = Registry(settings.registry)
    version = current_version(registry)
    load_bundle(registry.open(version), settings.device)
    with ExitStack() as stack:
        stack.enter_context(_stop_on_sigterm())
        listener = stack.enter_context(_listen(settings.host, settings.port))
        redis_url = settings.redis_url or stack.enter_context(_embedded(settings))
        _check_redis(redis_url, settings)
        if settings.workers > 1 and MULTIPROC_VARIABLE not in os.environ:
            os.environ[MULTIPROC_VARIABLE] = stack.enter_context(_scratch())
        _pass_on(flags, redis_url)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"recsvc: version {version}, Redis {mask_url(redis_url)}", err=True)
        typer.echo(f"recsvc: http://{shown}:{port} (reference at /docs)", err=True)
        _run_workers(settings, listener)


def _run_workers(settings: Settings, listener: socket.socket) -> None:
    protocol = partial(ServiceProtocol, head_timeout_s=settings.receive_timeout_s)
    config = uvicorn.Config(
        "recsvc.app:create_app",
        factory=True,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=settings.stop_timeout_s,
    )
    if settings.workers > 1:
        Multiprocess(config, sockets=[listener]).run()
        return
    uvicorn.Server(config).run(sockets=[listener])


def _pass_on(flags: Mapping[str, Any], redis_url: str) -> None:
    """Put the flags where workers, which are new processes, read their settings."""
    given = {name: value for name, value in flags.items() if value is not None}
    for name, value in {**given, "redis_url": redis_url}.items():
        os.environ[ENV_PREFIX + name.upper()] = str(value)


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket; connections are taken once a worker is ready."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, UnicodeError) as exc:
            raise StartError(
                f"cannot listen on host {host!r}, port {port}: {exc}; "
                "give a free port with --port (0 takes one) and a local address with --host"
            ) from exc
        listener.set_inheritable(True)
        yield listener


@contextmanager
def _embedded(settings: Settings) -> Iterator[str]:
    with EmbeddedRedis(Path(settings.data_dir), appendfsync=settings.redis_appendfsync) as embedded:
        yield embedded.url


@contextmanager
def _scratch() -> Iterator[str]:
    """A directory for the metrics of several workers."""
    directory = tempfile.mkdtemp(prefix="recsvc-metrics-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _check_redis(url: str, settings: Settings) -> None:
    """Refuse a Redis that holds other data; one that is away is not waited for."""

    async def check() -> None:
        store = StateStore.open(url, settings)
        try:
            await store.start()
        finally:
            await store.close()

    try:
        asyncio.run(check())
    except StateUnavailableError as exc:
        typer.echo(f"recsvc: starting without Redis: {exc}", err=True)


@contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Unwind on SIGTERM instead of dying at once: uvicorn raises it again after draining."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - signal's signature
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
