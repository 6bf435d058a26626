"""Keeps untrained items where their first interactions put them, the same on every replica.

Follows the stream of changes to the items' supports (a snapshot first), reads the supports of those
that changed, and moves them in the serving model's catalogue: in batches, computed in a thread, a
changed item at most once a round. The move is a function of the model, the item's features, its
support, and its exposure rounded to a step. Knows nothing of users.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import structlog

from recsvc.adaptation import Floats
from recsvc.errors import StateUnavailableError
from recsvc.item_adaptation import TakenItem, adapt_items, next_exposure, rounded_exposure
from recsvc.recommender.item_records import Record, taken_item
from recsvc.recommender.model import Adapted, ServingModel
from recsvc.state.item_supports import SupportChange
from recsvc.state.store import StateStore
from recsvc.telemetry import Metrics

BLOCK_MS = 1000
POLL_S = 1.0
"""How often exposures are looked at while nothing else happens."""
ROUND_S = 0.1
"""Pause between two rounds: what changes meanwhile is adapted once."""
RETRY_S = 0.5
BRING_UP_S = 5.0
"""Longest that a model waits for its items before it serves."""
_ITEMS_AT_ONCE = 8

_log = structlog.get_logger("recsvc.items")


@dataclass(frozen=True, slots=True)
class _Work:
    """An item that is to be moved."""

    item_id: str
    row: int
    prior: tuple[Floats, np.float32]
    records: tuple[Record, ...]
    change: SupportChange
    exposure: int


class ItemAdapter:
    """Where every item's support stands, and the jobs that follow it.

    Args:
        state: the store that all replicas share.
        serving: the model that serves; None while there is none.
        metrics: counts moves.
    """

    def __init__(
        self,
        state: StateStore,
        serving: Callable[[], ServingModel | None],
        metrics: Metrics,
    ) -> None:
        self._state = state
        self._serving = serving
        self._metrics = metrics
        self._position: str | None = None
        self.supports: dict[str, SupportChange] = {}
        self._dirty: dict[str, None] = {}
        self._due: list[tuple[int, str]] = []
        """Heap of (count of positive events at which an item's exposure is another, item)."""
        self._due_at: dict[str, int] = {}
        self._wake = asyncio.Event()

    async def follow(self) -> None:
        """Tail the changes until cancelled."""
        while True:
            try:
                if self._position is None:
                    await self._catch_up()
                assert self._position is not None
                self._position, changes = await self._state.item_supports.changes(
                    self._position, BLOCK_MS
                )
                self._note(changes)
            except StateUnavailableError as exc:
                if self._position is not None:
                    _log.warning("first interactions of items out of reach", error=str(exc))
                self._position = None
                await asyncio.sleep(RETRY_S)

    async def run(self) -> None:
        """Adapt what changed until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            try:
                await self.adapt_changed()
            except StateUnavailableError as exc:
                _log.warning("items are not adapted", items=len(self._dirty), error=str(exc))
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(ROUND_S)

    def mark(self, item_ids: Iterable[str]) -> None:
        """Adapt items anew that have a support: their features changed, or came."""
        found = [i for i in item_ids if i in self.supports]
        if found:
            self._dirty.update(dict.fromkeys(found))
            self._wake.set()

    async def bring_up(self, model: ServingModel) -> None:
        """Adapt the items of a model that is to serve, as many as the time allows.

        The rest follow once it serves (`install`), as they do without Redis or after an error.
        """
        if model.manifest.item_adaptation is None:
            return
        try:
            async with asyncio.timeout(BRING_UP_S):
                if self._position is None:
                    await self._catch_up()
                await self._adapt(model, list(self.supports))
        except StateUnavailableError as exc:
            _log.warning("a model starts without its items' interactions", error=str(exc))
        except TimeoutError:
            _log.warning("a model starts before all of its items are adapted", after_s=BRING_UP_S)

    def install(self, model: ServingModel) -> None:
        """A model takes over: adapt what it missed."""
        adapted = model.adapted
        self.mark(
            i
            for i, change in self.supports.items()
            if i not in adapted or adapted[i].number != change.number
        )

    async def adapt_changed(self) -> None:
        """One round: items whose support or exposure changed.

        Raises:
            StateUnavailableError: Redis does not answer; they wait.
        """
        self._wake.clear()
        model = self._serving()
        if model is None or model.manifest.item_adaptation is None:
            self._dirty.clear()  # a model that adapts items takes all up when it comes
            return
        if self._due:
            positives = await self._state.item_supports.positives()
            while self._due and self._due[0][0] <= positives:
                due_at, item_id = heapq.heappop(self._due)
                if self._due_at.get(item_id) == due_at:
                    self._dirty[item_id] = None
        items, self._dirty = list(self._dirty), {}
        try:
            await self._adapt(model, items)
        except BaseException:
            self._dirty.update(dict.fromkeys(items))
            raise

    async def _catch_up(self) -> None:
        self._position, supports = await self._state.item_supports.snapshot()
        gone = self.supports.keys() - supports.keys()
        self.mark(gone)
        for item_id in gone:
            del self.supports[item_id]
        self._note(supports)

    def _note(self, changes: Mapping[str, SupportChange]) -> None:
        self.supports.update(changes)
        self.mark(changes)

    async def _adapt(self, model: ServingModel, item_ids: list[str]) -> None:
        wanted = [i for i in item_ids if model.catalogue.untrained_row(i) is not None]
        for start in range(0, len(wanted), _ITEMS_AT_ONCE):
            works = await self._read(model, wanted[start : start + _ITEMS_AT_ONCE])
            if works:
                taken, moved = await asyncio.to_thread(_compute, model, works)
                self._place(model, works, taken, moved)

    async def _read(self, model: ServingModel, item_ids: list[str]) -> list[_Work]:
        """What is to be done for some items; those without a support are put back at once."""
        positives, reads = await self._state.item_supports.read(item_ids)
        works = []
        for item_id in item_ids:
            row = model.catalogue.untrained_row(item_id)
            if row is None:
                continue
            if item_id not in reads:
                model.catalogue.restore(row)
                model.adapted.pop(item_id, None)
                continue
            change = reads[item_id].change
            count = max(1, positives - change.first + 1)
            exposure = rounded_exposure(count)
            self._follow_exposure(item_id, change.first - 1 + next_exposure(count))
            known = model.adapted.get(item_id)
            if known is None or (known.number, known.exposure) != (change.number, exposure):
                (vector_D,), (bias,) = model.catalogue.priors([row])
                records = reads[item_id].records
                works.append(_Work(item_id, row, (vector_D, bias), records, change, exposure))
        return works

    def _follow_exposure(self, item_id: str, due_at: int) -> None:
        if self._due_at.get(item_id) != due_at:
            self._due_at[item_id] = due_at
            heapq.heappush(self._due, (due_at, item_id))

    def _place(
        self,
        model: ServingModel,
        works: list[_Work],
        taken: list[TakenItem],
        moved: tuple[Floats, Floats],
    ) -> None:
        """Move items that are as they were when they were read; the others come again."""
        for work, item, vector_D, bias in zip(works, taken, *moved, strict=True):
            (prior_D,), (prior_bias,) = model.catalogue.priors([work.row])
            if not np.array_equal(prior_D, work.prior[0]) or prior_bias != work.prior[1]:
                self.mark([work.item_id])
            elif not len(item.weight_S) or not np.isfinite([*vector_D, bias]).all():
                model.catalogue.restore(work.row)
                model.adapted.pop(work.item_id, None)
            else:
                model.catalogue.move(work.row, vector_D, bias)
                model.adapted[work.item_id] = Adapted(
                    work.change.number, work.exposure, len(item.weight_S)
                )
                self._metrics.items_adapted.inc()


def _compute(
    model: ServingModel, works: list[_Work]
) -> tuple[list[TakenItem], tuple[Floats, Floats]]:
    taken = [taken_item(model, w.prior, w.records, w.exposure) for w in works]
    assert model.bundle.sample_users is not None, "the model adapts no items. This is a bug."
    return taken, adapt_items(model.bundle.graphs, model.bundle.sample_users, taken)
