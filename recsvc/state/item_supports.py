"""The first interactions of items that training did not know: who counts for an item, and why.

A record is what a user's state can be computed from under any model: the user's other events at the
moment of their first positive one on the item. Beside the records stand a count of the positive
events of all users, and its value at each item's first one. Changes go through a stream that names
items, never users. Everything lies in one hash slot.

An item's records live as long as a user's state, and longer where a replica reads them meanwhile.
The table `supported` names every item that has any and has no time to live, so an erasure that goes
through it misses none. Knows nothing of models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from recsvc.state.changes import ChangeStream
from recsvc.state.connection import Argument, Connection
from recsvc.state.keys import (
    ITEMS_STATE,
    ITEMS_SUPPORTED,
    ITEMS_SUPPORTS,
    ITEMS_SUPPORTS_META,
    encode_id,
    erasure_key,
    item_support_key,
)
from recsvc.state.scripts import load_script

MAX_USERS = 64
"""Users that count for an item: the first ones. Independent of any model."""
ERASURE_S = 120
"""How long after an erasure began no record of the user is taken."""

_STREAM_CHANGES = 100_000
_ROWS_A_CALL = 200
_ITEMS_A_READ = 20
_ITEMS_A_SCAN = 500
_NUMBER_CHARS = 16


@dataclass(frozen=True, slots=True)
class SupportChange:
    """Where an item's support stands."""

    first: int
    """Count of all positive events at the item's first one, that one included."""
    number: int
    """Of the change; grows with every change of any item."""
    users: int
    """How many count for the item."""


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user who counts for an item (record), or no longer does (None)."""

    item_id: str
    user_id: str
    record: Mapping[str, Any] | None
    of_bundle: bool = False
    """The item came with a model; else it must be among the run-time items."""


@dataclass(frozen=True, slots=True)
class SupportRead:
    """An item's support, from one moment."""

    change: SupportChange
    records: tuple[dict[str, Any], ...]
    """In the order in which they came."""


class ItemSupports:
    """The records, over one connection.

    Args:
        connection: to Redis, with the patience of a write.
        ttl_s: time to live of an item's records.
    """

    def __init__(self, connection: Connection, ttl_s: int) -> None:
        self._connection = connection
        self._ttl_s = ttl_s
        self._stream = ChangeStream(connection, ITEMS_SUPPORTS, ITEMS_SUPPORTS_META)

    async def put(self, positives: int, records: Sequence[UserRecord]) -> list[bool]:
        """Count positive events of all users, then take records; of one user the first one stays.

        Returns:
            For each record whether all is as it should be; False where it was refused for now:
            the user is being erased, or the item is neither of a bundle nor put (yet).

        Raises:
            StateUnavailableError: whether it happened is unknown; repeating the records is safe,
                repeating the count is not.
        """
        taken: list[bool] = []
        script = load_script("put_item_supports")
        for start in range(0, max(1, len(records)), _ROWS_A_CALL):
            keys = [ITEMS_SUPPORTS_META, ITEMS_SUPPORTED, ITEMS_SUPPORTS, ITEMS_STATE]
            args: list[Argument] = [0 if start else positives, MAX_USERS, self._ttl_s]
            args.append(_STREAM_CHANGES)
            for row in records[start : start + _ROWS_A_CALL]:
                item = encode_id("item_id", row.item_id)
                user = encode_id("user_id", row.user_id)
                keys += (item_support_key(item), erasure_key(user))
                data = b"" if row.record is None else orjson.dumps(row.record)
                args += (item, user, "1" if row.of_bundle else "0", data)
            _, *outcomes = await self._connection.run(script, keys, *args)
            taken += map(bool, outcomes)
        return taken

    async def read(self, item_ids: Sequence[str]) -> tuple[int, dict[str, SupportRead]]:
        """Who counts for items, without naming them.

        Returns:
            The count of positive events of all users, and the items that have a support.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        positives = 0
        found: dict[str, SupportRead] = {}
        for start in range(0, len(item_ids), _ITEMS_A_READ):
            chunk = item_ids[start : start + _ITEMS_A_READ]
            items = [encode_id("item_id", item_id) for item_id in chunk]
            keys = [ITEMS_SUPPORTS_META, ITEMS_SUPPORTED, *map(item_support_key, items)]
            count, *supports = await self._connection.run(
                load_script("read_item_supports"), keys, self._ttl_s, *items
            )
            positives = int(count)
            for item_id, (entry, *records) in zip(chunk, supports, strict=True):
                if records:
                    ordered = (orjson.loads(r[_NUMBER_CHARS:]) for r in sorted(records))
                    found[item_id] = SupportRead(_change(entry), tuple(ordered))
        return positives, found

    async def positives(self) -> int:
        """How many positive events of all users were counted so far.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        return int(await self._connection.command("HGET", ITEMS_SUPPORTS_META, "positives") or 0)

    async def snapshot(self) -> tuple[str, dict[str, SupportChange]]:
        """A position in the stream, and where every item stands then or later.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        position = await self._stream.position()
        return position, {i.decode(): _change(e) for i, e in await self._supported()}

    async def changes(self, after: str, block_ms: int) -> tuple[str, dict[str, SupportChange]]:
        """The latest change of each item since a position; every item where some were missed.

        Args:
            after: a position from `snapshot` or `changes`.
            block_ms: longest wait for a change; 0 does not wait.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        position, entries = await self._stream.after(after, block_ms)
        if entries is None:
            return await self.snapshot()
        return position, {
            e[b"item"].decode(): SupportChange(
                int(e[b"first"]), int(e[b"number"]), int(e[b"users"])
            )
            for e in entries
        }

    async def of_user(self, user: bytes) -> dict[str, dict[str, Any]]:
        """A user's records by item id.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        return {
            item.decode(): orjson.loads(record[_NUMBER_CHARS:])
            for item, record in await self._visit(user, "read")
        }

    async def forget(self, user: bytes) -> list[str]:
        """Delete a user's records and take no more of them for a while; ids of the items.

        Raises:
            StateUnavailableError: some may be left; repeat it.
        """
        await self._connection.command("SET", erasure_key(user), 1, "EX", ERASURE_S)
        return [item.decode() for item, _ in await self._visit(user, "delete")]

    async def _visit(
        self, user: bytes, mode: Literal["read", "delete"]
    ) -> list[tuple[bytes, bytes]]:
        items = [item for item, _ in await self._supported()]
        found: list[tuple[bytes, bytes]] = []
        for start in range(0, len(items), _ITEMS_A_SCAN):
            chunk = items[start : start + _ITEMS_A_SCAN]
            keys = [ITEMS_SUPPORTS_META, ITEMS_SUPPORTED, ITEMS_SUPPORTS]
            keys += map(item_support_key, chunk)
            found += await self._connection.run(
                load_script("user_item_supports"), keys, user, mode, *chunk
            )
        return found

    async def _supported(self) -> list[tuple[bytes, bytes]]:
        found: dict[bytes, bytes] = {}
        cursor: Argument = 0
        while True:
            cursor, part = await self._connection.command(
                "HSCAN", ITEMS_SUPPORTED, cursor, "COUNT", _ITEMS_A_SCAN
            )
            found.update(part)
            if int(cursor) == 0:
                return list(found.items())


def _change(entry: bytes) -> SupportChange:
    return SupportChange(*map(int, entry.split()))
