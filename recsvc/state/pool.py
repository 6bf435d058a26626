"""A pool of connections to one Redis, and commands over it, in as few steps as that takes.

redis-py's own pools announce, time and count every borrowing, and its client every command, for
observers that are not there: a third of what a script costs this process. Knows nothing of scripts.
"""

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection


class Pool(ConnectionPool):
    """Connections that are lent; who finds none waits for as long as its own caller lets it.

    Args:
        max_connections: most that there are.
        options: redis-py's own.
    """

    def __init__(self, max_connections: int, **options: Any) -> None:
        super().__init__(max_connections=max_connections, **options)
        self._free = asyncio.Semaphore(max_connections)

    async def get_connection(
        self, command_name: str | None = None, *keys: Any, **options: Any
    ) -> AbstractConnection:
        """Borrow one that is connected; give it back with `release`."""
        await self._free.acquire()
        connection: AbstractConnection
        try:
            connection = self.get_available_connection()  # type: ignore[no-untyped-call]  # there
        except BaseException:
            self._free.release()
            raise
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Give one back."""
        self._in_use_connections.remove(connection)
        try:
            if connection.should_reconnect():  # type: ignore[no-untyped-call]  # there
                await connection.disconnect()
        finally:
            self._available_connections.append(connection)
            self._free.release()

    async def execute(self, *args: Any) -> Any:
        """Send one command; its reply as Redis gave it.

        A connection that failed, or whose reply was not waited for, closes itself.
        """
        connection = await self.get_connection()
        try:
            await connection.send_command(*args)
            return await connection.read_response()
        finally:
            await self.release(connection)
