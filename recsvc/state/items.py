"""Items added, changed or hidden at run time: one table, and a stream of changes to it.

A reader that missed changes reads the whole table again. Knows nothing of what features mean.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from recsvc.state.changes import ChangeStream
from recsvc.state.connection import Argument, Connection
from recsvc.state.keys import ITEMS_CHANGES, ITEMS_META, ITEMS_STATE, encode_id
from recsvc.state.scripts import load_script

Features = dict[str, Any] | None
"""None: the item is hidden."""

_STREAM_CHANGES = 100_000
_ITEMS_A_CALL = 500
_ITEMS_A_SCAN = 1000


class RunTimeItems:
    """The table and the stream.

    Args:
        connection: to Redis, for changes.
        background: to the same Redis, for following them.
    """

    def __init__(self, connection: Connection, background: Connection) -> None:
        self._connection = connection
        self._background = background
        self._stream = ChangeStream(background, ITEMS_CHANGES, ITEMS_META)

    async def put(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Change items; a later reader of the stream sees every change in this order.

        Args:
            items: features by item id; None hides the item.

        Raises:
            InvalidInputError: an item id is no valid id; nothing was changed.
            StateUnavailableError: some may be changed; repeating it is safe.
        """
        args: list[Argument] = []
        for item_id, features in items.items():
            args += (encode_id("item_id", item_id), orjson.dumps(features))
        script = load_script("put_items")
        keys = (ITEMS_STATE, ITEMS_CHANGES, ITEMS_META)
        for start in range(0, len(args), 2 * _ITEMS_A_CALL):
            chunk = args[start : start + 2 * _ITEMS_A_CALL]
            await self._connection.run(script, keys, _STREAM_CHANGES, *chunk)

    async def snapshot(self) -> tuple[str, dict[str, Features]]:
        """A position in the stream, and every item as it was then or later.

        Changes made meanwhile may be in it already; `changes` from the position repeats them, so
        whoever applies them in order ends right.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        position = await self._stream.position()
        items: dict[str, Features] = {}
        cursor: Argument = 0
        while True:
            cursor, found = await self._background.command(
                "HSCAN", ITEMS_STATE, cursor, "COUNT", _ITEMS_A_SCAN
            )
            for item, data in found.items():
                items[item.decode()] = orjson.loads(data)
            if int(cursor) == 0:
                return position, items

    async def changes(self, after: str, block_ms: int) -> tuple[str, list[tuple[str, Features]]]:
        """The changes after a position, oldest first; waits for one where there is none.

        Args:
            after: a position from `snapshot` or `changes`.
            block_ms: longest wait; 0 does not wait.

        Returns:
            The new position and the changes. Where some were missed, every item there is.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        position, entries = await self._stream.after(after, block_ms)
        if entries is None:
            position, items = await self.snapshot()
            return position, list(items.items())
        return position, [(e[b"item"].decode(), orjson.loads(e[b"data"])) for e in entries]
