"""Merging a user into another: an anonymous visitor turns out to be somebody known.

The two may live in different hash slots, where nothing is atomic across them. So everything is
copied first, under ids that make a second copy a duplicate, and only then is the source erased, if
nothing was added to it meanwhile. Whoever repeats a merge that broke off completes it. Knows
nothing of models or HTTP.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from recsvc.errors import ConflictError, InvalidInputError, StateUnavailableError, UserNotFoundError
from recsvc.settings import Settings
from recsvc.state.connection import Connection
from recsvc.state.events import AppendResult, Event, load_event
from recsvc.state.keys import MAX_ID_CHARS, encode_id, erasure_hash, user_keys
from recsvc.state.personal_data import erase_user, export_user
from recsvc.state.scripts import load_script

_ATTEMPTS = 10

Append = Callable[[Sequence[Event]], Awaitable[AppendResult]]
Forget = Callable[[bytes], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What came from the source in this call; nothing where an earlier one had moved it all."""

    events: int
    features: tuple[str, ...]
    """Names of features that the target did not have."""
    items: tuple[str, ...] = field(default=(), compare=False)
    """Items that the source counted for, and no longer does."""


async def merge_users(
    connection: Connection,
    append: Append,
    forget: Forget,
    settings: Settings,
    target: str,
    source: str,
) -> MergeResult:
    """Make a source's events and features the target's, then erase the source.

    Where both have a feature the target's stays. Events keep their times; their ids get a suffix,
    because ids are unique within one user only. What was archived and has left the support set is
    not moved, and goes from the archive with the rest of the source.

    Args:
        connection: for writes.
        append: stores events.
        forget: deletes an encoded user's records in the supports of items, and names those.
        settings: partitions, limits, times to live.
        target: user id; need not be known.
        source: user id.

    Raises:
        InvalidInputError: the two are one.
        UserNotFoundError: nothing is kept about the source, and it was not merged before.
        ConflictError: the source was merged into another user, or the target was, or the two have
            too many features together.
        StateUnavailableError: it may be half done; repeat it.
    """
    if target == source:
        raise InvalidInputError(f"user {target!r} cannot be merged into itself; name two users")
    merge = _Merge(connection, append, forget, settings, target, source)
    moved = 0
    names: tuple[str, ...] = ()
    for _ in range(_ATTEMPTS):
        kept = await merge.read_source()
        if kept is None:
            return MergeResult(moved, names, tuple(merge.items))
        names = await merge.copy_features(kept["features"] or {}) or names
        moved += await merge.copy_events(kept["events"])
        if await merge.erase_source(kept["revision"]):
            return MergeResult(moved, names, tuple(merge.items))
    raise StateUnavailableError(
        f"user {source!r} is being written to without a pause; repeat the request", retry_after_s=1
    )


class _Merge:
    """The steps of one merge, each harmless when repeated."""

    def __init__(
        self,
        connection: Connection,
        append: Append,
        forget: Forget,
        settings: Settings,
        target: str,
        source: str,
    ) -> None:
        self.items: list[str] = []
        self._connection = connection
        self._append = append
        self._forget = forget
        self._settings = settings
        self._target, self._source = target, source
        self._target_id = encode_id("target", target)
        self._source_id = encode_id("source", source)
        self._target_keys = user_keys(self._target_id, settings.partitions)
        self._source_keys = user_keys(self._source_id, settings.partitions)

    async def read_source(self) -> dict[str, Any] | None:
        """All that is kept about the source; None where a merge into the target moved it all."""
        kept = await export_user(self._connection, self._source_keys, self._source_id)
        if kept is not None:
            await self._note()
            return kept
        noted = await self._connection.command("GET", self._source_keys.merged)
        if noted is None:
            raise UserNotFoundError(f"nothing is kept about user {self._source!r}")
        self._check_note(noted)
        return None

    async def copy_features(self, features: dict[str, Any]) -> tuple[str, ...]:
        """Give the target the features that it does not have; their names."""
        keys, script = self._target_keys, load_script("put_features")
        for _ in range(_ATTEMPTS):
            fields = await self._connection.command("HMGET", keys.meta, "revision", "features")
            own = orjson.loads(fields[1] or b"{}")
            names = tuple(sorted(features.keys() - own.keys()))
            if not names:
                return ()
            self._check_count(len(own) + len(names))
            done = await self._connection.run(
                script,
                (keys.log, keys.meta, keys.state),
                *(self._target_id, orjson.dumps({**features, **own})),
                *(self._settings.state_ttl_s, fields[0] or 0),
            )
            if done:
                return names
        raise StateUnavailableError(
            f"user {self._target!r} is being written to without a pause; repeat the request",
            retry_after_s=1,
        )

    async def copy_events(self, events: Sequence[dict[str, Any]]) -> int:
        """Append the source's events to the target's; how many were new there."""
        copies = []
        for stored in events:
            renamed = {**stored, "event_id": merged_event_id(self._source_id, stored["event_id"])}
            copies.append(load_event(self._target, orjson.dumps(renamed)))
        return (await self._append(copies)).accepted

    async def erase_source(self, revision: int) -> bool:
        """Erase the source unless it has changed since it was read; whether it was erased.

        Its records with items go first: a merge that breaks off here is repeated while the source
        is still known, and the target counts for the items by the events it was given.
        """
        self.items += await self._forget(self._source_id)
        erased = await erase_user(
            self._connection, self._source_keys, self._source_id, revision=revision
        )
        return erased is not None

    async def _note(self) -> None:
        """Remember what the source becomes, before anything of it moves."""
        target_note = await self._connection.command("GET", self._target_keys.merged)
        if target_note is not None:
            raise ConflictError(
                f"user {self._target!r} was itself merged into another one; merge into that one"
            )
        key, note = self._source_keys.merged, erasure_hash(self._target_id)
        ttl_s = self._settings.state_ttl_s
        if not await self._connection.command("SET", key, note, "EX", ttl_s, "NX"):
            self._check_note(await self._connection.command("GET", key))

    def _check_note(self, noted: bytes | None) -> None:
        if noted is not None and noted != erasure_hash(self._target_id):
            raise ConflictError(
                f"user {self._source!r} was merged into another user before; "
                f"to begin anew with this id, erase it: DELETE /v1/users/{{id}}"
            )

    def _check_count(self, count: int) -> None:
        if count > self._settings.max_features:
            raise ConflictError(
                f"users {self._target!r} and {self._source!r} have {count} features together; at "
                f"most {self._settings.max_features} are allowed (max_features): put fewer first"
            )


def merged_event_id(source: bytes, event_id: str) -> str:
    """The id that a source's event gets with the target: always the same, and never another's."""
    merged = f"{event_id}~{erasure_hash(source)[:16].decode()}"
    if len(merged) <= MAX_ID_CHARS:
        return merged
    return hashlib.sha256(merged.encode()).hexdigest()
