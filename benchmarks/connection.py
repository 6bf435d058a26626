"""One keep-alive HTTP connection that costs little, so that clients do not slow what they measure.

A general client spends as much CPU time on a request as the service does on its answer; this one
writes bytes and leaves the parsing to httptools, which the service's server brings along.
"""

import asyncio

import httptools


class Connection(asyncio.Protocol):
    """Sends one request at a time."""

    def __init__(self, host: str) -> None:
        self._host = host.encode()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Connect.

        Raises:
            OSError: nobody listens there.
        """
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(host), host, port)
        return connection

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request; returns the answer's status and body.

        Raises:
            ConnectionError: the connection ended before the answer did.
        """
        if self._transport is None:
            raise ConnectionError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method.encode(), path.encode(), self._host)
        if body:
            head += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        self._transport.write(head + b"\r\n" + body)
        return await self._answer

    def close(self) -> None:
        """Close; harmless when closed."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection ended."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"closed before the answer: {exc}"))

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """httptools: a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """httptools: the answer is complete."""
        status, body = self._parser.get_status_code(), bytes(self._body)
        self._body.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))
