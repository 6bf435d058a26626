"""Two processes adapt and record for one user, their calls to Redis in any order."""

import asyncio
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recsvc.settings import Settings
from recsvc.state.events import Event, UserSnapshot
from recsvc.state.store import StateStore
from tests.recsvc.redis_server import RedisServer

Process = Literal[0, 1]
Step = tuple[Process, Literal["read", "keep", "record", "erase"], int]
"""Who does what: read the user, keep the state of what was read last, record the event of a number,
erase the user."""

steps = st.tuples(
    st.sampled_from([0, 1]),
    st.sampled_from(["read", "keep", "record", "record", "erase"]),
    st.integers(0, 3),
)


@pytest.mark.parametrize("limit", [2, 10])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(order=[(0, "read", 0), (1, "record", 1), (0, "keep", 0)])
@example(
    order=[(0, "record", 1), (0, "read", 0), (1, "erase", 0), (1, "record", 1), (0, "keep", 0)]
)
@given(order=st.lists(steps, max_size=16))
def test_every_event_counts_and_no_state_is_old(
    redis_server: RedisServer, limit: int, order: list[Step]
) -> None:
    """A kept state is that of the events as they are now, and each event is there once."""
    asyncio.run(run(redis_server, limit, order))


async def run(server: RedisServer, limit: int, order: list[Step]) -> None:
    """Start from nothing and take the steps."""
    with server.client() as client:
        client.flushall()
    limits = Settings(partitions=1, max_events_per_user=limit, redis_timeout_s=5.0)
    stores = [StateStore.open(server.url, limits) for _ in range(2)]
    try:
        await take(order, stores, limit)
    finally:
        for store in stores:
            await store.close()


async def take(order: list[Step], stores: list[StateStore], limit: int) -> None:
    """Take the steps; look after each of them through the process that did not take it."""
    reads: list[UserSnapshot | None] = [None, None]
    recorded: list[str] = []
    for process, action, number in order:
        store, read = stores[process], reads[process]
        if action == "read":
            reads[process] = await store.read_user("ada", "v1")
        elif action == "keep" and read is not None:
            await store.write_state("ada", "v1", read.revision, state_of(read))
        elif action == "record":
            name = str(number)
            result = await store.append([Event("ada", name, None, None, 0, name)])
            assert result.accepted == (name not in recorded)
            recorded += [name] if result.accepted else []
        elif action == "erase":
            await store.erase_user("ada")
            recorded.clear()
        now = await stores[1 - process].read_user("ada", "v1")
        assert [e.event_id for e in now.events] == recorded[-limit:]
        assert now.state in (None, state_of(now))


def state_of(user: UserSnapshot) -> bytes:
    """A state that tells exactly which events it rests on."""
    return ",".join(e.event_id for e in user.events).encode()
