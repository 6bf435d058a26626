"""Run-time items: what was added, changed or hidden since training, kept the same on every replica.

A snapshot first, then the stream of changes. After any failure the snapshot is taken again, so a
lost connection, a trimmed stream and a replaced Redis heal alike. Knows nothing of vectors.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from recsvc.errors import StateUnavailableError
from recsvc.state.store import StateStore

Features = Mapping[str, Any] | None
Change = tuple[str, Features]

BLOCK_MS = 1000
RETRY_S = 0.5

_log = structlog.get_logger("recsvc.items")


class ItemFeed:
    """The run-time items known here, and where the stream was read up to.

    Args:
        state: the store that all replicas share.
        apply: told of the items that changed, batch by batch.
    """

    def __init__(self, state: StateStore, apply: Callable[[Mapping[str, Features]], None]) -> None:
        self._state = state
        self._apply = apply
        self._position: str | None = None
        self.items: dict[str, Features] = {}
        """Item id to features; None: hidden."""

    async def catch_up(self) -> None:
        """Take the snapshot.

        Raises:
            StateUnavailableError: the store does not answer.
        """
        position, items = await self._state.items_snapshot()
        self.note(list(items.items()))
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

    def note(self, changes: Sequence[Change]) -> None:
        """Take changes into account here, before or after they come through the stream.

        Of several changes of one item the last counts; what is known already is not applied again.
        """
        latest = dict(changes)
        new = {i: f for i, f in latest.items() if i not in self.items or self.items[i] != f}
        if new:
            self.items.update(new)
            self._apply(new)

    async def _follow(self) -> None:
        assert self._position is not None
        while True:
            self._position, changes = await self._state.item_changes(self._position, BLOCK_MS)
            self.note(changes)
