"""The event log as its archive sees it: read by a consumer group, removed once archived.

Knows nothing of files. An entry stays in Redis until `finish`; one that was handed to a consumer
which died is handed out again after it has been idle for a while.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recsvc.state.connection import Connection
from recsvc.state.keys import PARTITIONS_KEY, log_key
from recsvc.state.scripts import load_script

Kind = Literal["event", "features", "erase"]

_KINDS: dict[bytes, Kind] = {b"event": "event", b"features": "features", b"erase": "erase"}
_IDS_A_CALL = 1000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a partition's log."""

    partition: int
    ms: int
    """When Redis stored it, milliseconds since 1970 UTC."""
    sequence: int
    """Order among the entries of one partition and millisecond."""
    kind: Kind
    user: str
    """User id; of an erasure its hash (`keys.erasure_hash`)."""
    data: bytes
    """JSON: the event without its user, or the features; empty for an erasure."""


class EventLog:
    """The streams of all partitions, read as one consumer of the archive's group.

    Args:
        connection: to Redis.
        consumer: a name that no other process uses.
    """

    def __init__(self, connection: Connection, consumer: str) -> None:
        self._connection = connection
        self._consumer = consumer

    async def partitions(self) -> int:
        """How many partitions Redis was filled under; 0 where nothing was ever stored."""
        return int(await self._connection.command("GET", PARTITIONS_KEY) or 0)

    async def claim(
        self, partition: int, cursor: str, idle_ms: int, count: int
    ) -> tuple[str, list[LogEntry]]:
        """Take over entries that another consumer was handed at least `idle_ms` ago.

        Args:
            cursor: "0-0" at first, then the one returned, until that is "0-0" again.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        next_cursor, *found = await self._connection.run(
            load_script("read_log"),
            (log_key(partition),),
            *(self._consumer, count, cursor, idle_ms),
        )
        return next_cursor.decode(), [_entry(partition, fields) for fields in found]

    async def read(self, partition: int, count: int) -> list[LogEntry]:
        """The next entries that no consumer was handed yet.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        _, *found = await self._connection.run(
            load_script("read_log"), (log_key(partition),), self._consumer, count, "new"
        )
        return [_entry(partition, fields) for fields in found]

    async def finish(self, entries: Sequence[LogEntry]) -> None:
        """Remove entries that are safe elsewhere.

        Raises:
            StateUnavailableError: some may be left; they will be handed out again.
        """
        ids: dict[int, list[str]] = {}
        for e in entries:
            ids.setdefault(e.partition, []).append(f"{e.ms}-{e.sequence}")
        script = load_script("finish_log")
        for partition, group in ids.items():
            for start in range(0, len(group), _IDS_A_CALL):
                chunk = group[start : start + _IDS_A_CALL]
                await self._connection.run(script, (log_key(partition),), *chunk)

    async def leave(self) -> None:
        """Forget this consumer wherever it has nothing pending."""
        script = load_script("leave_log")
        for partition in range(await self.partitions()):
            await self._connection.run(script, (log_key(partition),), self._consumer)


def _entry(partition: int, fields: Sequence[bytes]) -> LogEntry:
    id_, kind, user, data = fields
    ms, _, sequence = id_.decode().partition("-")
    return LogEntry(partition, int(ms), int(sequence), _KINDS[kind], user.decode(), data)
