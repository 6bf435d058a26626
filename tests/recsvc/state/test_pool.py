"""The pool of connections: lent, waited for, given back, and never with another call's reply."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from recsvc.state.pool import Pool
from tests.recsvc.redis_server import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool(redis_server: RedisServer) -> AsyncIterator[Pool]:
    """A pool of two."""
    pool: Pool = Pool.from_url(redis_server.url, max_connections=2, protocol=2)
    yield pool
    await pool.disconnect()


async def client_id(pool: Pool) -> int:
    """The server's number of the connection that is lent next."""
    return int(await pool.execute("CLIENT", "ID"))


async def test_a_connection_is_used_again(pool: Pool) -> None:
    """One call after the other goes over one connection."""
    assert await client_id(pool) == await client_id(pool)


async def test_who_finds_none_waits_until_one_is_given_back(pool: Pool) -> None:
    """Ten calls at once share two connections, and every one gets its own reply."""
    replies = await asyncio.gather(*(pool.execute("ECHO", str(i)) for i in range(10)))
    assert replies == [str(i).encode() for i in range(10)]
    held = [await pool.get_connection() for _ in range(2)]
    waiting = asyncio.create_task(pool.get_connection())
    await asyncio.sleep(0)
    assert not waiting.done()
    await pool.release(held[0])
    assert await waiting is held[0]
    for connection in held:
        await pool.release(connection)


async def test_who_stops_waiting_takes_no_connection(pool: Pool) -> None:
    """A call that is cancelled while it waits leaves as many connections as before."""
    held = [await pool.get_connection() for _ in range(2)]
    waiting = asyncio.create_task(pool.get_connection())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for connection in held:
        await pool.release(connection)
    assert await asyncio.gather(client_id(pool), client_id(pool))


async def test_a_reply_that_nobody_waits_for_reaches_nobody_else(pool: Pool) -> None:
    """A call is cancelled after it was sent: the next ones get their own replies."""
    for _ in range(4):
        sent = asyncio.create_task(pool.execute("BLPOP", "nothing", "1"))
        await asyncio.sleep(0.01)
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)
    replies = await asyncio.gather(*(pool.execute("ECHO", text) for text in ("a", "b")))
    assert replies == [b"a", b"b"]


async def test_a_refused_command_keeps_its_connection(pool: Pool) -> None:
    """An error that Redis answers with is raised, and the connection goes on."""
    before = await client_id(pool)
    with pytest.raises(ResponseError, match="unknown command"):
        await pool.execute("NOSUCH")
    assert await client_id(pool) == before


async def test_a_connection_that_redis_closed_is_made_again(pool: Pool) -> None:
    """Redis closes a connection that lies idle: the next call goes over a new one."""
    idle = await pool.get_connection()
    other = await pool.get_connection()
    await idle.send_command("CLIENT", "ID")
    closed = int(await idle.read_response())
    await other.send_command("CLIENT", "KILL", "ID", closed)
    assert await other.read_response() == 1
    await asyncio.sleep(0.01)
    await pool.release(idle)
    assert await client_id(pool) != closed
    await pool.release(other)


async def test_a_failure_to_connect_gives_the_place_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Without Redis every call fails, however often, and none waits for ever."""
    nowhere = tmp_path_factory.mktemp("p") / "s"
    pool: Pool = Pool.from_url(f"unix://{nowhere}", max_connections=1, protocol=2)
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            await asyncio.wait_for(pool.execute("PING"), 10.0)
