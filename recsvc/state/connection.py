"""Calls to Redis, a single node or a cluster, each within its own time and behind the breaker.

Knows nothing of what is stored. Nothing is tried twice: a write whose answer is lost may have
happened, and only the caller knows whether a repeat is harmless. Every failure, a full disk and an
exhausted pool included, is a StateUnavailableError.

redis-py's own defaults wait 5 s for a socket and try 10 times; all of them are set here.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, NoScriptError, RedisError, ResponseError

from recsvc.errors import StateUnavailableError
from recsvc.settings import mask_url
from recsvc.state.breaker import Breaker
from recsvc.state.pool import Pool
from recsvc.state.scripts import Script
from recsvc.telemetry import Metrics

Argument = bytes | str | int | float
Reply = Any
ScriptCall = tuple[Sequence[bytes], Sequence[Argument]]
"""Keys and arguments of one run of a script."""

# redis-py must see its own timeout before the call's budget ends, because only then does its
# cluster client mark the node as failed and look for the one that took over. A single node needs no
# other clock than the call's budget: redis-py's would cost a task for every command it sends.
_SOCKET_SHARE = 0.75
# What redis-py up to 8.1 raises where one task writes to a connection that another one closes
# (redis/redis-py#4287). Only redis-py's own code runs where these are caught.
_TORN_CONNECTION = (AttributeError, TypeError)
_FAILURES = (RedisError, OSError, TimeoutError, *_TORN_CONNECTION)
_CLUSTER_CONCURRENCY = 32


class Connection:
    """A pool of connections to one Redis or one Redis Cluster.

    Args:
        url: redis://, rediss://, unix://, or redis+cluster://, rediss+cluster:// for a cluster.
        timeout_s: budget of a call: waiting for a connection, connecting, sending and reading.
        max_connections: of this process, to each node.
        breaker: opened by failures of any call that goes through `run` or `command`; None: nothing
            is refused, for callers that wait between their attempts themselves.
        metrics: counts failures by kind.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        max_connections: int,
        breaker: Breaker | None,
        metrics: Metrics,
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._breaker = breaker
        self._metrics = metrics
        self.is_cluster = "+cluster" in urlsplit(url).scheme
        read_timeout_s = timeout_s * _SOCKET_SHARE if self.is_cluster else None
        self._client = _connect(url, read_timeout_s, timeout_s, max_connections)
        self._blocking = _connect(url, None, timeout_s, 2)
        self._discovery = asyncio.Lock()
        self._discoveries = 0
        self._stale = self.is_cluster

    async def run(self, script: Script, keys: Sequence[bytes], *args: Argument) -> Reply:
        """Run a script on the node that owns the keys (one hash slot).

        Raises:
            StateUnavailableError: it failed, or whether it ran is unknown.
        """
        return await self._guard(lambda: _run(self._client, script, keys, args))

    async def run_many(self, script: Script, calls: Sequence[ScriptCall]) -> list[Reply]:
        """Run a script once per (keys, args), in one go; replies in the order of the calls.

        Raises:
            StateUnavailableError: any of them failed; the others may have run.
        """
        if len(calls) == 1:
            ((keys, args),) = calls
            return [await self.run(script, keys, *args)]
        many = self._gather if self.is_cluster else self._pipeline
        replies: list[Reply] = await self._guard(lambda: many(script, calls))
        return replies

    async def command(self, *args: Argument) -> Reply:
        """Send one command.

        Raises:
            StateUnavailableError: it failed, or whether it ran is unknown.
        """
        return await self._guard(lambda: self._client.execute_command(*args))

    async def wait(self, block_s: float, *args: Argument) -> Reply:
        """Send one command that blocks on the server for at most `block_s`; not for the breaker.

        Raises:
            StateUnavailableError: it failed.
        """
        try:
            return await _within(
                block_s + self._timeout_s, lambda: self._blocking.execute_command(*args)
            )
        except _FAILURES as exc:
            if self.is_cluster:
                await _close(self._blocking)  # the next call looks for the nodes again
            raise self._failure(exc) from exc

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._client, self._blocking):
            await _close(client)

    async def _guard(self, call: Callable[[], Awaitable[Reply]]) -> Reply:
        if self._breaker is not None and not self._breaker.allow():
            self._metrics.redis_errors.labels("refused").inc()
            raise StateUnavailableError(
                f"Redis at {mask_url(self._url)} failed repeatedly and is left alone for a moment",
                retry_after_s=math.ceil(self._breaker.reset_s),
            )
        discoveries = self._discoveries

        async def discover_and_call() -> Reply:
            nonlocal discoveries
            await self._discover()
            discoveries = self._discoveries
            return await call()

        try:
            reply = await _within(self._timeout_s, discover_and_call)
        except _FAILURES as exc:
            # One that refuses a command (full memory, full disk, read-only) is alive.
            alive = isinstance(exc, ResponseError) and not isinstance(exc, ClusterDownError)
            self._stale |= self.is_cluster and not alive and discoveries == self._discoveries
            self._settle(succeeded=alive)
            raise self._failure(exc) from exc
        except BaseException:
            if self._breaker is not None:
                self._breaker.abandon()
            raise
        self._settle(succeeded=True)
        return reply

    async def _discover(self) -> None:
        # redis-py's cluster client looks for its nodes at the first call and after a failure. Calls
        # that do so at the same time close one another's connections, again and again, so one
        # goes ahead here and the others wait for it.
        if not self._stale:
            return
        async with self._discovery:
            if self._stale:
                await _close(self._client)
                await self._client.initialize()
                self._discoveries += 1
                self._stale = False

    def _settle(self, *, succeeded: bool) -> None:
        if self._breaker is None:
            return
        if succeeded:
            self._breaker.succeed()
        else:
            self._breaker.fail()
        self._metrics.breaker_open.set(float(self._breaker.is_open))

    def _failure(self, exc: Exception) -> StateUnavailableError:
        kind = "timeout" if "Timeout" in type(exc).__name__ else type(exc).__name__
        self._metrics.redis_errors.labels(kind).inc()
        detail = str(exc) or f"no answer within {self._timeout_s:g} s"
        return StateUnavailableError(
            f"Redis at {mask_url(self._url)} did not do it: {detail}",
            retry_after_s=1 if self._breaker is None else math.ceil(self._breaker.reset_s),
        )

    async def _pipeline(self, script: Script, calls: Sequence[ScriptCall]) -> list[Reply]:
        async with self._client.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                pipe.execute_command("EVALSHA", script.sha1, len(keys), *keys, *args)
            replies: list[Reply] = await pipe.execute(raise_on_error=False)
        for i, (keys, args) in enumerate(calls):
            if isinstance(replies[i], NoScriptError):
                replies[i] = await _run(self._client, script, keys, args)
            elif isinstance(replies[i], Exception):
                raise replies[i]
        return replies

    async def _gather(self, script: Script, calls: Sequence[ScriptCall]) -> list[Reply]:
        # Not redis-py's cluster pipeline: it does not look for the new owner of a failed node.
        limit = asyncio.Semaphore(_CLUSTER_CONCURRENCY)

        async def one(keys: Sequence[bytes], args: Sequence[Argument]) -> Reply:
            async with limit:
                return await _run(self._client, script, keys, args)

        # Not a TaskGroup: in Python 3.11 a failed one leaves its task marked as cancelled.
        tasks = [asyncio.create_task(one(keys, args)) for keys, args in calls]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _within(timeout_s: float, call: Callable[[], Awaitable[Reply]]) -> Reply:
    task = asyncio.current_task()
    assert task is not None, "called outside a task. This is a bug."
    before = task.cancelling()
    try:
        async with asyncio.timeout(timeout_s):
            return await call()
    finally:
        # asyncio.wait_for, which redis-py awaits, can swallow a cancellation before Python 3.12.
        if task.cancelling() > before:
            raise asyncio.CancelledError


async def _run(
    client: "Redis | RedisCluster",
    script: Script,
    keys: Sequence[bytes],
    args: Sequence[Argument],
) -> Reply:
    pool = getattr(client, "connection_pool", None)
    execute = pool.execute if isinstance(pool, Pool) else client.execute_command
    try:
        return await execute("EVALSHA", script.sha1, len(keys), *keys, *args)
    except NoScriptError:
        return await execute("EVAL", script.text, len(keys), *keys, *args)


async def _close(client: "Redis | RedisCluster") -> None:
    await client.aclose()
    if isinstance(client, Redis):
        await client.connection_pool.disconnect()
    else:
        # After a failed call the cluster client takes itself for closed, and is not.
        for nodes in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(nodes)


def _connect(
    url: str, read_timeout_s: float | None, connect_timeout_s: float, max_connections: int
) -> "Redis | RedisCluster":
    options: dict[str, Any] = {
        "socket_timeout": read_timeout_s,
        "socket_connect_timeout": connect_timeout_s * _SOCKET_SHARE,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": max_connections,
        "protocol": 2,
    }
    if "+cluster" in urlsplit(url).scheme:
        return RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
    return Redis(connection_pool=Pool.from_url(url, **options))
