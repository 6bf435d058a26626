"""A bounded stream of numbered changes that every replica tails.

Every change has a number, one more than the change before, so a reader that missed some (the stream
is bounded) notices. Knows nothing of what changes.
"""

from recsvc.state.connection import Connection
from recsvc.state.scripts import load_script

_CHANGES_A_READ = 1000

Entry = dict[bytes, bytes]


class ChangeStream:
    """A stream over one connection.

    Args:
        connection: to Redis.
        stream: its key; every entry has a field `number`.
        meta: key of the hash whose field `changes` counts them.
    """

    def __init__(self, connection: Connection, stream: bytes, meta: bytes) -> None:
        self._connection = connection
        self._stream = stream
        self._meta = meta

    async def position(self) -> str:
        """Where the stream ends now.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        id_, number = await self._connection.run(
            load_script("items_position"), (self._stream, self._meta)
        )
        return _position(id_, number)

    async def after(self, position: str, block_ms: int) -> tuple[str, list[Entry] | None]:
        """The changes after a position, oldest first; waits for one where there is none.

        Args:
            position: from `position` or `after`.
            block_ms: longest wait; 0 does not wait.

        Returns:
            The new position and the changes; None where some were missed.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        id_, _, number = position.partition("@")
        block = ("BLOCK", block_ms) if block_ms > 0 else ()
        reply = await self._connection.wait(
            block_ms / 1000,
            *("XREAD", "COUNT", _CHANGES_A_READ, *block, "STREAMS", self._stream, id_),
        )
        if not reply:
            return position, []
        entries: list[tuple[bytes, Entry]] = reply[0][1]
        if int(entries[0][1][b"number"]) != int(number) + 1:
            return position, None
        last_id, last = entries[-1]
        return _position(last_id, last[b"number"]), [fields for _, fields in entries]


def _position(id_: bytes, number: bytes) -> str:
    return f"{id_.decode()}@{int(number)}"
