"""Simulated new users: each asks for a list, acts on one item of it, and asks until it changed.

Knows nothing of processes or of how figures are shown.
"""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from connection import Connection

VISIT_DEADLINE_S = 30.0
MAX_READS = 50
"""A list that is the same after so many reads counts as an error."""


class VisitError(Exception):
    """A visit that did not go as it must."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What one new user waited for, in milliseconds."""

    first_list_ms: float
    event_ms: float
    """Until the event was acknowledged, which is when it is durable."""
    next_list_ms: float
    """The read that brought the changed list."""
    changed_ms: float
    """From sending the event to the changed list's arrival."""
    reads: int
    """Reads after the event until the list had changed."""
    adapted: bool
    """Whether the service said that it adapted to exactly this event."""
    reordered: bool
    """Whether the list changed by more than the item acted on leaving it."""


@dataclass(slots=True)
class Visits:
    """All visits of a run."""

    done: list[Visit] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    wall_s: float = 0.0
    client_cpu_s: float = 0.0

    @property
    def requests(self) -> int:
        """Requests of the visits that went well."""
        return sum(2 + visit.reads for visit in self.done)


@dataclass(frozen=True, slots=True)
class Plan:
    """Who visits what."""

    host: str
    port: int
    users: int
    """Users at a time, each on a connection of its own."""
    visits: int
    """Visits in all, each by a user never seen before."""
    value: float | None
    """Of the events; None where the data set has no values."""
    seed: int = 0


def run_visits(plan: Plan) -> Visits:
    """Let the users visit at the same time, without pauses, until all visits are made.

    Raises:
        OSError: nobody listens there.
    """
    return asyncio.run(_all_users(plan))


def run_floor(plan: Plan) -> list[float]:
    """The least that a request can take here: empty answers, asked for in the same way.

    Returns:
        Milliseconds of each request; as many as there are visits.

    Raises:
        OSError: nobody listens there.
    """
    return asyncio.run(_all_floors(plan))


async def _all_floors(plan: Plan) -> list[float]:
    turns = iter(range(plan.visits))
    times_ms: list[float] = []

    async def one() -> None:
        connection = await Connection.open(plan.host, plan.port)
        for _ in turns:
            asked_s = time.perf_counter()
            await connection.request("GET", "/livez")
            times_ms.append((time.perf_counter() - asked_s) * 1e3)
        connection.close()

    await asyncio.gather(*(one() for _ in range(plan.users)))
    return times_ms


async def _all_users(plan: Plan) -> Visits:
    result = Visits()
    turns = iter(range(plan.visits))
    started_s, cpu_s = time.perf_counter(), time.process_time()
    await asyncio.gather(*(_one_user(plan, n, turns, result) for n in range(plan.users)))
    result.wall_s = time.perf_counter() - started_s
    result.client_cpu_s = time.process_time() - cpu_s
    return result


async def _one_user(plan: Plan, number: int, turns: Iterator[int], result: Visits) -> None:
    """Visit while there are turns left, as another new user each time."""
    rng = random.Random(f"{plan.seed}-{number}")
    connection = await Connection.open(plan.host, plan.port)
    for _ in turns:
        try:
            async with asyncio.timeout(VISIT_DEADLINE_S):
                result.done.append(await _visit(connection, rng, plan.value))
        except (VisitError, OSError, TimeoutError) as exc:
            result.errors[f"{type(exc).__name__}: {exc}"] += 1
            connection.close()
            connection = await Connection.open(plan.host, plan.port)
    connection.close()


async def _visit(connection: Connection, rng: random.Random, value: float | None) -> Visit:
    user_id = uuid.uuid4().hex
    path = f"/v1/users/{user_id}/recommendations"
    began_s = time.perf_counter()
    before, _ = await _read(connection, path)
    listed_s = time.perf_counter()
    chosen = rng.choice(before)
    event = {"user_id": user_id, "item_id": chosen, "value": value}
    body = orjson.dumps({"events": [event]})
    sent_s = time.perf_counter()
    status, answer = await connection.request("POST", "/v1/events", body)
    stored_s = asked_s = time.perf_counter()
    if status != 200 or orjson.loads(answer)["accepted"] != 1:
        raise VisitError(f"POST /v1/events answered {status}: {answer[:200]!r}")
    reads, after = 0, before
    while after == before:
        if reads == MAX_READS:
            raise VisitError(f"the list did not change in {MAX_READS} reads")
        asked_s = time.perf_counter()
        after, adaptation = await _read(connection, path)
        reads += 1
    arrived_s = time.perf_counter()
    left = [item_id for item_id in before if item_id != chosen]
    return Visit(
        first_list_ms=(listed_s - began_s) * 1e3,
        event_ms=(stored_s - sent_s) * 1e3,
        next_list_ms=(arrived_s - asked_s) * 1e3,
        changed_ms=(arrived_s - sent_s) * 1e3,
        reads=reads,
        adapted=adaptation["support_size"] == 1 and adaptation["steps"] > 0,
        reordered=after[: len(left)] != left,
    )


async def _read(connection: Connection, path: str) -> tuple[list[str], dict[str, Any]]:
    """A user's list and how the service came to it."""
    status, body = await connection.request("GET", path)
    if status != 200:
        raise VisitError(f"GET recommendations answered {status}: {body[:200]!r}")
    answer = orjson.loads(body)
    return [item["item_id"] for item in answer["items"]], answer["adaptation"]
