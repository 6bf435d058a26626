"""All that is kept about one user: exported, or erased and shown to be gone.

Knows nothing of files: an archive learns of an erasure from the mark in the log. The append-only
file of Redis holds the erased bytes until Redis next rewrites it.
"""

import base64
from collections.abc import AsyncIterator
from typing import Any, Literal

import orjson

from recsvc.errors import StateUnavailableError
from recsvc.state.connection import Connection
from recsvc.state.keys import UserKeys, erasure_hash
from recsvc.state.scripts import load_script

_ENTRIES_A_SCAN = 1000
_ARRIVAL_CHARS = 22


async def export_user(connection: Connection, keys: UserKeys, user: bytes) -> dict[str, Any] | None:
    """Everything that Redis holds about a user, ready for JSON; None where that is nothing.

    Events come in order of arrival and include those that have left the support set and are not
    archived yet.

    Raises:
        StateUnavailableError: Redis does not answer.
    """
    support, meta, states, seen, taken = await connection.run(load_script("export_user"), keys.own)
    logged = [entry async for entry in _scan(connection, keys, user, "+", "read")]
    in_log = [orjson.loads(data) for _, kind, data in logged if kind == b"event"]
    in_support = [orjson.loads(member[_ARRIVAL_CHARS:]) for member in sorted(support)]
    # What is in the support set alone is archived, so it came before all that is in the log.
    archived = {e["event_id"]: e for e in in_support}
    for event in in_log:
        archived.pop(event["event_id"], None)
    events = [*archived.values(), *in_log]
    if not (events or meta or seen or logged):
        return None
    fields = dict(zip(meta[::2], meta[1::2], strict=True))
    return {
        "user_id": user.decode(),
        "revision": int(fields.get(b"revision", 0)),
        "features": orjson.loads(fields.get(b"features", b"null")),
        "events": events,
        "adapted_states": {
            version.decode(): base64.b64encode(stored.partition(b":")[2]).decode()
            for version, stored in zip(states[::2], states[1::2], strict=True)
        },
        "remembered_event_ids": [event_id.decode() for event_id in seen],
        "remembered_item_numbers": sorted(map(int, taken)),
    }


async def erase_user(
    connection: Connection, keys: UserKeys, user: bytes, *, revision: int | None = None
) -> int | None:
    """Delete everything that Redis holds about a user, and look again that it is gone.

    Events that arrive after the call began are a new user's, and stay.

    Args:
        connection: to Redis.
        keys: the user's.
        user: encoded id.
        revision: erase only if the user is at it, and leave the note of a merge; None: erase all.

    Returns:
        Keys and log entries deleted; None where the user is at another revision.

    Raises:
        StateUnavailableError: something may be left; repeat it.
    """
    doomed = (*keys.own, keys.merged) if revision is None else keys.own
    answer = await connection.run(
        load_script("erase_user"),
        (keys.log, keys.meta, *doomed),
        *(erasure_hash(user), "" if revision is None else revision),
    )
    if not answer:
        return None
    marker, deleted, left = answer
    before = f"({marker.decode()}"
    deleted += len([e async for e in _scan(connection, keys, user, before, "delete")])
    left += len([e async for e in _scan(connection, keys, user, before, "read")])
    if left:
        raise StateUnavailableError(
            f"{left} entries of the user are left after erasure; repeat the request"
        )
    return int(deleted)


async def _scan(
    connection: Connection,
    keys: UserKeys,
    user: bytes,
    last: str,
    mode: Literal["read", "delete"],
) -> AsyncIterator[tuple[bytes, bytes, bytes]]:
    """(id, kind, data) of the user's log entries up to `last`, in bounded steps."""
    first = "-"
    while True:
        end, *found = await connection.run(
            load_script("scan_log"), (keys.log,), user, first, last, _ENTRIES_A_SCAN, mode
        )
        for id_, kind, data in found:
            yield id_, kind, data
        if not end:
            return
        first = f"({end.decode()}"
