"""An answer leaves the server in one piece, and nothing that was written is lost."""

import asyncio
from typing import cast

import pytest

from recsvc.cli.http_protocol import JoinedWrites

pytestmark = pytest.mark.anyio


class Wire:
    """A transport that notes what it was told to send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def joined(wire: Wire) -> JoinedWrites:
    return JoinedWrites(cast("asyncio.Transport", wire), asyncio.get_running_loop())


async def test_writes_of_one_step_are_one() -> None:
    """Head and body go out together; what comes in a later step is a piece of its own."""
    wire = Wire()
    transport = joined(wire)
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.sent == []
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)
    assert wire.sent == [b"head body", b"next"]


async def test_closing_sends_what_is_held() -> None:
    """A last answer is sent before the connection closes, and nothing after."""
    wire = Wire()
    transport = joined(wire)
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert (wire.sent, wire.closed) == ([b"last words"], True)


async def test_nothing_is_sent_to_a_client_that_has_gone() -> None:
    """A connection that was lost in between takes no more writes."""
    wire = Wire()
    transport = joined(wire)
    transport.write(b"too late")
    wire.close()
    await asyncio.sleep(0)
    assert wire.sent == []


async def test_all_else_is_the_transports() -> None:
    """Addresses and the like come from the real transport."""
    assert joined(Wire()).get_extra_info("peername") == "the peername"
