"""The ASGI application of one worker: `uvicorn --factory recsvc.app:create_app`.

Composes settings, state, models and routes. A bundle is loaded before the first request is taken; a
Redis that is away at that moment is not waited for: lists are degraded until it comes.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client.multiprocess import mark_process_dead

from recsvc.api import (
    bodies,
    events,
    health,
    items,
    middleware,
    playground,
    problems,
    recommendations,
    routes,
    users,
    versions,
)
from recsvc.api.access import Access
from recsvc.api.context import Context
from recsvc.contract.registry import Registry
from recsvc.errors import SettingsError, StateUnavailableError
from recsvc.recommender import ItemFeed, Recommender, connect
from recsvc.recommender.known_users import KnownUsers
from recsvc.settings import Settings
from recsvc.state.api_keys import ApiKeys
from recsvc.state.store import StateStore
from recsvc.telemetry import MULTIPROC_VARIABLE, Metrics, configure_logging

RESTART_S = 1.0
SWITCH_S = 0.001
"""How long a thread that computes keeps the interpreter while the event loop waits for it."""
NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""Of FastAPI's own: it would hold what requests say, and asks at every request whether to."""
ROUTERS = (events, recommendations, items, users, versions, health, playground)

DESCRIPTION = """Recommendations that adapt to a new user or a new item at request time.

Ids are strings of 1 to 256 characters. Errors are `application/problem+json` (RFC 9457). After a
503 the header `Retry-After` says when to come back; repeating a write is safe."""

_log = structlog.get_logger("recsvc.app")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the app of one worker. Nothing is opened before its lifespan starts.

    Args:
        settings: None reads them from the environment and the file.

    Raises:
        SettingsError: one is wrong, or no Redis is named.
    """
    settings = settings or Settings.load()
    if settings.redis_url is None:
        raise SettingsError(
            "redis_url is not set; set RECSVC_REDIS_URL, or start with `recsvc serve`, which "
            "brings its own Redis"
        )
    configure_logging(settings.log_level, settings.log_format)
    metrics = Metrics()
    app = FastAPIOffline(  # FastAPI whose /docs brings its own scripts: no CDN is asked
        title="recsvc",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan(settings, settings.redis_url, metrics),
        redirect_slashes=False,
        redoc_url=None,
        telemetry=NO_TELEMETRY,
    )
    problems.install(app)
    for module in ROUTERS:
        app.include_router(module.router)
    routes.describe(app)
    app.add_middleware(middleware.RawPath)
    app.add_middleware(middleware.Admission, max_requests=settings.max_requests_in_flight)
    app.add_middleware(
        bodies.Bodies, max_bytes=settings.max_body_bytes, timeout_s=settings.receive_timeout_s
    )
    app.add_middleware(middleware.Ending)
    app.add_middleware(middleware.Stopwatch, metrics=metrics)
    return app


def _lifespan(
    settings: Settings, redis_url: str, metrics: Metrics
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _end_with_parent()
        sys.setswitchinterval(SWITCH_S)
        state = StateStore.open(redis_url, settings, metrics)
        rollout, feed, recorder, adapter = connect(
            Registry(settings.registry),
            state,
            settings.registry_poll_s,
            _now,
            metrics,
            settings.device,
        )
        recommender = Recommender(
            rollout, state, feed, recorder, KnownUsers(time.monotonic), _now, _new_id, metrics
        )
        # Over the hasty connection: a silent Redis must not hold the breaker's probe for long.
        keys = ApiKeys(state.connection)
        access = Access(keys.all, require_keys=settings.require_keys)
        app.state.context = Context(settings, metrics, state, recommender, access, _now, _new_id)
        await _greet(state, feed, access)
        await rollout.start()
        jobs = {
            "rollout": rollout.run,
            "items": feed.run,
            "item changes": adapter.follow,
            "items' interactions": adapter.run,
            "recorder": recorder.run,
            "expired records": recorder.sweep,
            "keys": access.run,
        }
        try:
            async with _background(jobs):
                gc.collect()
                gc.freeze()  # what start-up made stays: a full collection would stall over it
                yield
            with contextlib.suppress(StateUnavailableError):
                await recorder.flush()
        finally:
            await state.close()
            if MULTIPROC_VARIABLE in os.environ:
                mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]  # untyped there

    return lifespan


def _end_with_parent() -> None:
    """Stop this worker when the process that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


async def _greet(state: StateStore, feed: ItemFeed, access: Access) -> None:
    """First contact with Redis; without an answer the service starts all the same."""
    try:
        await state.start()
        await access.refresh()
        await feed.catch_up()
    except StateUnavailableError as exc:
        _log.warning("starting without Redis: lists are degraded, writes refused", error=str(exc))


@contextlib.asynccontextmanager
async def _background(jobs: Mapping[str, Callable[[], Awaitable[None]]]) -> AsyncIterator[None]:
    """Jobs by name that run until the context ends."""
    tasks = [asyncio.create_task(_keep_running(job, name)) for name, job in jobs.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_running(job: Callable[[], Awaitable[None]], name: str) -> None:
    """Run a background job for ever; one that fails is logged and started again."""
    while True:
        try:
            await job()
        except Exception:  # the job must outlive whatever went wrong once
            _log.exception("background job failed", job=name)
            await asyncio.sleep(RESTART_S)


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex
