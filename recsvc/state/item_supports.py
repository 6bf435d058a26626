"""The first interactions of items that training did not know: who counts for an item, and why.

A record is what a user's state can be computed from under any model: the user's other events at the
moment of their first positive one on the item. Beside the records stand a count of the positive
events of all users, and its value at each item's first one. Changes go through a stream that names
items, never users. Everything lies in one hash slot.

A record ends with the user's own state, as that was when the record was made, or with a later
record of the same user; `drop_expired` removes it. The index of a user's items and the table of
users have no time to live and are never evicted, so an erasure that follows them misses no record.
An item whose last record is gone leaves nothing behind. Knows nothing of models.
"""

from collections.abc import Sequence
from typing import Any, Literal

import orjson

from recsvc.contract.manifest import MAX_ITEM_USERS
from recsvc.state.changes import ChangeStream
from recsvc.state.connection import Argument, Connection
from recsvc.state.keys import (
    ITEMS_STATE,
    ITEMS_SUPPORTED,
    ITEMS_SUPPORTERS,
    ITEMS_SUPPORTS,
    ITEMS_SUPPORTS_META,
    encode_id,
    erasure_key,
    item_support_key,
    user_items_key,
)
from recsvc.state.scripts import load_script
from recsvc.state.support_entries import (
    SupportChange,
    SupportRead,
    UserRecord,
    load_change,
    load_record,
    load_support,
)

ERASURE_S = 120
"""How long after an erasure began no record of the user is taken."""

_STREAM_CHANGES = 100_000
_ROWS_A_CALL = 200
_ITEMS_A_READ = 32
_ITEMS_A_SCAN = 500
_USERS_A_CALL = 500

_Row = tuple[bytes, bytes, str, int, int, bytes]
"""Item, user, whether the item needs no features, revision, end, what to do: see the script."""


class ItemSupports:
    """The records.

    Args:
        connection: to Redis, for what a request waits for.
        background: to the same Redis, for everything else.
        ttl_s: how long a user's state lives after its last change.
    """

    def __init__(self, connection: Connection, background: Connection, ttl_s: int) -> None:
        self._connection = connection
        self._background = background
        self._ttl_s = ttl_s
        self._stream = ChangeStream(background, ITEMS_SUPPORTS, ITEMS_SUPPORTS_META)

    async def put(self, positives: int, records: Sequence[UserRecord]) -> list[bool]:
        """Count positive events of all users, then take records; of one user the first one stays.

        Returns:
            For each record whether all is as it should be; False where it was refused for now:
            the user is being erased, or the item is neither of a bundle nor put (yet).

        Raises:
            StateUnavailableError: whether it happened is unknown; repeating the records is safe,
                repeating the count is not.
        """
        rows: list[_Row] = []
        for r in records:
            item, user = encode_id("item_id", r.item_id), encode_id("user_id", r.user_id)
            data = b"" if r.record is None else orjson.dumps(r.record)
            due_s = r.revision // 1_000_000 + self._ttl_s
            rows.append((item, user, "1" if r.of_bundle else "0", r.revision, due_s, data))
        return await self._write(self._background, positives, rows)

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
            keys = [ITEMS_SUPPORTS_META, ITEMS_SUPPORTED, ITEMS_SUPPORTS]
            keys += map(item_support_key, items)
            count, *supports = await self._background.run(
                load_script("read_item_supports"), keys, *items
            )
            positives = int(count)
            for item_id, (entry, *records) in zip(chunk, supports, strict=True):
                if records:
                    found[item_id] = load_support(entry, records)
        return positives, found

    async def positives(self) -> int:
        """How many positive events of all users were counted so far.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        return int(await self._background.command("HGET", ITEMS_SUPPORTS_META, "positives") or 0)

    async def snapshot(self) -> tuple[str, dict[str, SupportChange]]:
        """A position in the stream, and where every item stands then or later.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        position = await self._stream.position()
        found: dict[str, SupportChange] = {}
        cursor: Argument = 0
        while True:
            cursor, part = await self._background.command(
                "HSCAN", ITEMS_SUPPORTED, cursor, "COUNT", _ITEMS_A_SCAN
            )
            found.update((item.decode(), load_change(entry)) for item, entry in part.items())
            if int(cursor) == 0:
                return position, found

    async def changes(
        self, after: str, block_ms: int
    ) -> tuple[str, dict[str, SupportChange], bool]:
        """The latest change of each item since a position; every item where some were missed.

        Args:
            after: a position from `snapshot` or `changes`.
            block_ms: longest wait for a change; 0 does not wait.

        Returns:
            The new position, the changes, and whether they are all that there is.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        position, entries = await self._stream.after(after, block_ms)
        if entries is None:
            return *await self.snapshot(), True
        return position, {e[b"item"].decode(): load_change(e[b"entry"]) for e in entries}, False

    async def drop_expired(self) -> int:
        """Delete the records of users whose time is over; how many users those were.

        Raises:
            StateUnavailableError: some may be left for the next time.
        """
        dropped: set[bytes] = set()
        while True:
            users: list[bytes] = await self._background.run(
                load_script("due_supporters"), (ITEMS_SUPPORTERS,), _USERS_A_CALL
            )
            left = [user for user in users if user not in dropped]
            for user in left:
                await self._remove(self._background, user, b"expire")
            dropped.update(left)
            if len(users) < _USERS_A_CALL or not left:  # none left: these have no index to go by
                return len(dropped)

    async def of_user(self, user: bytes) -> dict[str, dict[str, Any]]:
        """A user's records by item id.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        items = await self._items_of(self._connection, user)
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(items), _ROWS_A_CALL):
            chunk = items[start : start + _ROWS_A_CALL]
            reply = await self._connection.run(
                load_script("user_item_supports"), [*map(item_support_key, chunk)], user, *chunk
            )
            found.update((item.decode(), load_record(record)) for item, record in reply)
        return found

    async def forget(self, user: bytes) -> list[str]:
        """Delete a user's records and take no more of them for a while; ids of the items.

        Raises:
            StateUnavailableError: some may be left; repeat it.
        """
        await self._connection.command("SET", erasure_key(user), 1, "EX", ERASURE_S)
        return await self._remove(self._connection, user, b"forget")

    async def _remove(
        self, connection: Connection, user: bytes, how: Literal[b"forget", b"expire"]
    ) -> list[str]:
        items = await self._items_of(connection, user)
        removed = await self._write(connection, 0, [(i, user, "0", 0, 0, how) for i in items])
        return [item.decode() for item, was in zip(items, removed, strict=True) if was]

    async def _items_of(self, connection: Connection, user: bytes) -> list[bytes]:
        found: list[bytes] = await connection.command("HKEYS", user_items_key(user))
        return found

    async def _write(
        self, connection: Connection, positives: int, rows: Sequence[_Row]
    ) -> list[bool]:
        outcomes: list[bool] = []
        script = load_script("put_item_supports")
        for start in range(0, max(1, len(rows)), _ROWS_A_CALL):
            keys = [ITEMS_SUPPORTS_META, ITEMS_SUPPORTED, ITEMS_SUPPORTS, ITEMS_STATE]
            keys.append(ITEMS_SUPPORTERS)
            args: list[Argument] = [0 if start else positives, MAX_ITEM_USERS, self._ttl_s]
            args.append(_STREAM_CHANGES)
            for row in rows[start : start + _ROWS_A_CALL]:
                item, user, *_ = row
                keys += (item_support_key(item), erasure_key(user), user_items_key(user))
                args += row
            _, *replies = await connection.run(script, keys, *args)
            outcomes += map(bool, replies)
        return outcomes
