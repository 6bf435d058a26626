"""The state of users and run-time items, kept in Redis.

Knows nothing of models, vectors or HTTP.

What an answer promises: when a write returns, Redis has executed it and, with `appendonly yes`,
handed it to the operating system before answering. Losing the process of the service or of Redis
loses nothing that was acknowledged; losing power loses up to a second with `appendfsync everysec`
and nothing with `always`. (With `everysec` on a disk so slow that the last forced write is still
running, Redis holds writes back for up to two seconds; only `always` covers its death just then.)
When a write raises, whether it happened is unknown; repeating it with the same event ids is safe.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from recsvc.errors import PartitionMismatchError, StateUnavailableError
from recsvc.settings import Settings
from recsvc.state import merging, personal_data
from recsvc.state.api_keys import ApiKeys
from recsvc.state.batches import EVENTS_A_CALL, batches
from recsvc.state.breaker import Breaker
from recsvc.state.connection import Argument, Connection, ScriptCall
from recsvc.state.events import AppendResult, Event, UserSnapshot, by_user, dump_event, load_event
from recsvc.state.item_supports import ItemSupports
from recsvc.state.items import Features, RunTimeItems
from recsvc.state.keys import PARTITIONS_KEY, UserKeys, encode_id, item_number, user_keys
from recsvc.state.scripts import load_script
from recsvc.telemetry import Metrics


def _nothing_counts(_: Event) -> bool:
    return False


class StateStore:
    """Users' support sets, features and adapted states, the event log, and run-time items.

    Args:
        connection: to Redis, for reads: a request waits no longer than they may take.
        writes: to the same Redis, with more patience: a write is not given up for a stall.
        background: to the same Redis, for what no request waits for; not behind their breaker.
        settings: partitions, limits and times to live.
        metrics: counts accepted and dropped events.
    """

    def __init__(
        self,
        connection: Connection,
        writes: Connection,
        background: Connection,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.connection = connection
        self._writes = writes
        self._background = background
        self._settings = settings
        self._metrics = metrics
        self._items = RunTimeItems(writes, background)
        self.api_keys = ApiKeys(writes)
        self.item_supports = ItemSupports(writes, background, settings.state_ttl_s)
        self._partitions_checked = False

    @classmethod
    def open(
        cls,
        url: str,
        settings: Settings,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> "StateStore":
        """A store over a URL. Does not connect yet.

        Args:
            url: the settings' redis_url, or an EmbeddedRedis' url.
            settings: limits and times.
            metrics: counts and the breaker's state; None: counted for nobody.
            clock: monotonic seconds, for the circuit breaker.
        """
        metrics = metrics or Metrics()
        breaker = Breaker(settings.breaker_failures, settings.breaker_reset_s, clock)
        reads, writes, background = (
            Connection(url, timeout_s, settings.redis_max_connections, behind, metrics)
            for timeout_s, behind in (
                (settings.redis_timeout_s, breaker),
                (settings.redis_write_timeout_s, breaker),
                (settings.redis_write_timeout_s, None),
            )
        )
        return cls(reads, writes, background, settings, metrics)

    async def start(self, *, background: bool = False) -> None:
        """Check that Redis answers and was filled under the same number of partitions.

        Every other call does the same before its first command, so a service may start without
        Redis and take it up when it comes.

        Args:
            background: no request waits for it.

        Raises:
            StateUnavailableError: Redis does not answer.
            PartitionMismatchError: it holds data under another number of partitions.
        """
        if self._partitions_checked:
            return
        wanted = self._settings.partitions
        connection = self._background if background else self.connection
        await connection.command("SET", PARTITIONS_KEY, wanted, "NX")
        found = int(await connection.command("GET", PARTITIONS_KEY))
        if found != wanted:
            raise PartitionMismatchError(
                f"partitions={wanted} is set, but this Redis was filled with {found}; "
                f"set RECSVC_PARTITIONS={found}, or use an empty Redis"
            )
        self._partitions_checked = True

    async def append(
        self, events: Sequence[Event], counts: Callable[[Event], bool] = _nothing_counts
    ) -> AppendResult:
        """Store events durably; those whose id the user already had are dropped.

        One script per user (per 500 of its events): all of its effects happen, or none.

        Args:
            events: any number, of any users.
            counts: whether an event is to be counted, once for each user and item.

        Raises:
            InvalidInputError: a user id is no valid id; nothing was stored.
            StateUnavailableError: some may be stored and some not; repeat with the same event ids.
        """
        limits: tuple[Argument, ...] = (
            self._settings.max_events_per_user,
            self._settings.state_ttl_s,
            self._settings.dedupe_ttl_s,
        )
        calls: list[ScriptCall] = []
        for user_id, chunk in by_user(events, EVENTS_A_CALL):
            user = encode_id("user_id", user_id)
            keys = self._keys(user)
            args: list[Argument] = [user, *limits]
            for e in chunk:
                item = item_number(e.item_id) if counts(e) else ""
                args += (e.event_id.encode(), e.order_ms, dump_event(e), item)
            calls.append(((keys.log, *keys.own), args))
        await self.start()
        replies: list[list[int]] = []
        for batch in batches(calls):
            replies += await self._writes.run_many(load_script("append"), batch)
        accepted, duplicates, firsts = map(sum, zip((0, 0, 0), *replies, strict=True))
        self._metrics.events_accepted.inc(accepted)
        self._metrics.events_duplicate.inc(duplicates)
        return AppendResult(accepted, duplicates, firsts)

    async def read_user(self, user_id: str, model_version: str) -> UserSnapshot:
        """All that a recommendation needs of a user, in one round trip and from one moment.

        Args:
            user_id: an unknown one has revision 0 and no events.
            model_version: whose adapted state to read.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        keys = self._keys(encode_id("user_id", user_id))
        await self.start()
        reply = await self.connection.run(
            load_script("read_user"), (keys.support, keys.meta, keys.state), model_version
        )
        return _snapshot(user_id, reply)

    async def read_users(self, user_ids: Sequence[str]) -> list[UserSnapshot]:
        """What is stored of some users, for work that no request waits for; no adapted states.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        calls: list[ScriptCall] = []
        for user_id in user_ids:
            keys = self._keys(encode_id("user_id", user_id))
            calls.append(((keys.support, keys.meta, keys.state), ("",)))
        await self.start(background=True)
        replies = await self._background.run_many(load_script("read_user"), calls)
        found = []
        for user_id, reply in zip(user_ids, replies, strict=True):
            found.append(_snapshot(user_id, reply))
            await asyncio.sleep(0)  # a long history takes a while: requests have their turn
        return found

    async def write_state(
        self, user_id: str, model_version: str, revision: int, state: bytes
    ) -> bool:
        """Keep an adapted state if the user is still at the revision it was computed at.

        Returns:
            False where the user has changed since; nothing was kept.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        keys = self._keys(encode_id("user_id", user_id))
        await self.start()
        kept = await self.connection.run(
            load_script("write_state"),
            (keys.meta, keys.state),
            *(model_version, revision, state, self._settings.state_ttl_s),
        )
        return bool(kept)

    async def put_user_features(self, user_id: str, features: Mapping[str, Any]) -> None:
        """Replace a user's features; logged for the archive like an event.

        Raises:
            StateUnavailableError: whether it happened is unknown; repeating it is safe.
        """
        user = encode_id("user_id", user_id)
        keys = self._keys(user)
        await self.start()
        await self._writes.run(
            load_script("put_features"),
            (keys.log, keys.meta, keys.state),
            *(user, orjson.dumps(features), self._settings.state_ttl_s, ""),
        )

    async def export_user(self, user_id: str) -> dict[str, Any] | None:
        """All that Redis keeps about a user; see `personal_data.export_user`."""
        user = encode_id("user_id", user_id)
        await self.start()
        kept = await personal_data.export_user(self._writes, self._keys(user), user)
        records = await self.item_supports.of_user(user)
        if kept is None and records:
            kept = {"user_id": user_id, "revision": 0, "features": None, "events": []}
        return kept if not records or kept is None else {**kept, "item_supports": records}

    async def erase_user(self, user_id: str) -> int:
        """Delete all of it, verified; see `personal_data.erase_user`."""
        user = encode_id("user_id", user_id)
        await self.start()
        # Before the events go: they are what a record is made from, so none comes back.
        records = await self.item_supports.forget(user)
        erased = await personal_data.erase_user(self._writes, self._keys(user), user)
        assert erased is not None, "no revision was asked for. This is a bug."
        if left := await self.item_supports.of_user(user):
            raise StateUnavailableError(
                f"{len(left)} records of the user are left after erasure; repeat the request"
            )
        return erased + len(records)

    async def merge_users(self, target: str, source: str) -> merging.MergeResult:
        """Make one user's events and features another's; see `merging.merge_users`."""
        await self.start()
        return await merging.merge_users(
            self._writes,
            self.append,
            self.item_supports.forget,
            self._settings,
            target,
            source,
        )

    async def put_items(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Add, change or hide items; see `RunTimeItems.put`."""
        await self.start()
        await self._items.put(items)

    async def items_snapshot(self) -> tuple[str, dict[str, Features]]:
        """All run-time items and a position; see `RunTimeItems.snapshot`."""
        await self.start(background=True)
        return await self._items.snapshot()

    async def item_changes(
        self, after: str, block_ms: int
    ) -> tuple[str, list[tuple[str, Features]]]:
        """The changes after a position; see `RunTimeItems.changes`."""
        await self.start(background=True)
        return await self._items.changes(after, block_ms)

    async def ping(self) -> None:
        """Raise StateUnavailableError unless Redis answers."""
        await self.connection.command("PING")

    async def close(self) -> None:
        """Close all connections."""
        for connection in (self.connection, self._writes, self._background):
            await connection.close()

    def _keys(self, user: bytes) -> UserKeys:
        return user_keys(user, self._settings.partitions)


def _snapshot(user_id: str, reply: Sequence[Any]) -> UserSnapshot:
    revision, features, state, *events = reply
    return UserSnapshot(
        revision=int(revision),
        events=tuple(load_event(user_id, stored) for stored in events),
        features=None if features is None else orjson.loads(features),
        state=state,
    )
