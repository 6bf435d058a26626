"""Run-time items: what was added, changed or hidden since training, kept the same on every replica.

A snapshot first, then the stream of changes. After any failure the snapshot is taken again, so a
lost connection, a trimmed stream and a replaced Redis heal alike. Many changes are passed on in
parts, each an item's latest, so that a bulk load keeps neither requests nor single changes waiting.
Knows nothing of vectors.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import structlog

from recsvc.errors import StateUnavailableError
from recsvc.state.store import StateStore

Features = Mapping[str, Any] | None
Change = tuple[str, Features]

BLOCK_MS = 1000
RETRY_S = 0.5
ITEMS_AT_ONCE = 16
"""Items that are computed with before others have their turn."""

Value = TypeVar("Value")

_log = structlog.get_logger("recsvc.items")


class ItemFeed:
    """The run-time items known here, and where the stream was read up to.

    Args:
        state: the store that all replicas share.
        apply: awaited with the items that changed, part by part.
    """

    def __init__(
        self, state: StateStore, apply: Callable[[Mapping[str, Features]], Awaitable[None]]
    ) -> None:
        self._state = state
        self._apply = apply
        self._position: str | None = None
        self.turn = asyncio.Lock()
        """Held by whoever computes with items: one at a time leaves the event loop its share."""
        self.items: dict[str, Features] = {}
        """Item id to features; None: hidden."""
        self._waiting: set[str] = set()
        """Items that are not applied yet as they are now."""

    async def catch_up(self) -> None:
        """Take the snapshot.

        Raises:
            StateUnavailableError: the store does not answer.
        """
        position, items = await self._state.items_snapshot()
        await self.note(list(items.items()))
        self._position = position

    async def run(self) -> None:
        """Tail the changes until cancelled."""
        while True:
            try:
                if self._position is None:
                    await self.catch_up()
                await self._follow()
            except StateUnavailableError as exc:
                if self._position is not None:
                    _log.warning("item changes out of reach", error=str(exc))
                self._position = None
                await asyncio.sleep(RETRY_S)

    async def note(self, changes: Sequence[Change]) -> None:
        """Take changes into account here, before or after they come through the stream.

        Of several changes of one item the last counts; what was applied is not applied again. Once
        this returns all of them are, whoever brought them.
        """
        latest = dict(changes)
        new = {i: f for i, f in latest.items() if i not in self.items or self.items[i] != f}
        self.items.update(new)
        self._waiting.update(new)
        for part in parts({i: f for i, f in latest.items() if i in self._waiting}):
            async with self.turn:
                last = {i: self.items[i] for i in part if i in self._waiting}
                if last:
                    await self._apply(last)
                    self._waiting -= {i for i, f in last.items() if self.items[i] is f}

    async def _follow(self) -> None:
        assert self._position is not None
        while True:
            self._position, changes = await self._state.item_changes(self._position, BLOCK_MS)
            await self.note(changes)


def parts(items: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """Some items at a time."""
    left = iter(items.items())
    while part := dict(islice(left, ITEMS_AT_ONCE)):
        yield part
