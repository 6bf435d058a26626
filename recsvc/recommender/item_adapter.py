"""Keeps untrained items where their first interactions put them, the same on every replica.

Follows the stream of changes to the items' supports (a snapshot first), reads the supports of those
that changed, and moves them in the serving model's catalogue: in batches, computed in a thread, a
changed item at most once a round. The move is a function of the model, the item's features, its
support, and its exposure rounded to a step. Knows nothing of users.
"""

import asyncio
import contextlib
import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import structlog

from recsvc.adaptation import Floats
from recsvc.errors import StateUnavailableError
from recsvc.item_adaptation import next_exposure
from recsvc.recommender.item_moves import Heard, Work, adapted_by, compute, hear
from recsvc.recommender.model import ServingModel
from recsvc.state.store import StateStore
from recsvc.state.support_entries import SupportChange
from recsvc.telemetry import Metrics

BLOCK_MS = 1000
POLL_S = 1.0
"""How often exposures are looked at while nothing else happens."""
PAUSE_S = 0.1
"""Between two rounds: what changes meanwhile is adapted once."""
ROUND_S = 0.5
"""Longest round; what is left comes in the next one."""
RETRY_S = 0.5
BRING_UP_S = 5.0
"""Longest that a model waits for its items before it serves."""
_ITEMS_AT_ONCE = 32
_USERS_AT_ONCE = 256

_log = structlog.get_logger("recsvc.items")


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
        self._dirty: OrderedDict[str, None] = OrderedDict()
        """Items to look at; what changed last is last."""
        self._due: list[tuple[int, str]] = []
        """Heap of (count of positive events at which an item's exposure is another, item)."""
        self._due_at: dict[str, int] = {}
        self._exposure: dict[str, int] = {}
        """As each item was last adapted with, by any model."""
        self._wake = asyncio.Event()

    async def follow(self) -> None:
        """Tail the changes until cancelled."""
        while True:
            try:
                if self._position is None:
                    await self._catch_up()
                assert self._position is not None
                self._position, changes, is_all = await self._state.item_supports.changes(
                    self._position, BLOCK_MS
                )
                self._note(changes, is_all=is_all)
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
                waiting = len(self._dirty)
                _log.warning("items keep their places for now", waiting=waiting, error=str(exc))
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(PAUSE_S)

    def mark(self, item_ids: Iterable[str]) -> None:
        """Adapt items anew that have a support: their features changed, or came."""
        found = [i for i in item_ids if i in self.supports]
        if found:
            self._put_back(found)

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
                items = list(self.supports)
                for start in range(0, len(items), _ITEMS_AT_ONCE):
                    await self._adapt(model, items[start : start + _ITEMS_AT_ONCE])
        except StateUnavailableError as exc:
            _log.warning("a model starts without its items' interactions", error=str(exc))
        except TimeoutError:
            _log.warning("a model starts before all of its items are adapted", after_s=BRING_UP_S)

    def install(self, model: ServingModel) -> None:
        """A model takes over: adapt what it missed, also while another one served."""
        adapted = model.adapted
        self.mark(
            i
            for i, change in self.supports.items()
            if i not in adapted
            or adapted[i].number != change.number
            or adapted[i].exposure != self._exposure.get(i)
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
        await self._note_due()
        clock = asyncio.get_running_loop().time
        end_s = clock() + ROUND_S
        done: set[str] = set()
        while self._dirty and clock() < end_s:
            batch = self._next_batch()
            again = done.intersection(batch)
            try:
                await self._adapt(model, [i for i in batch if i not in again])
            except BaseException:
                self._put_back(batch)
                raise
            done.update(batch)
            if again:
                self._put_back(again)
                break
        if self._dirty:
            self._wake.set()

    def _next_batch(self) -> list[str]:
        """By turns what changed last and first: nothing waits behind a bulk load, nor for ever."""
        batch: list[str] = []
        users = 0
        while self._dirty and len(batch) < _ITEMS_AT_ONCE and users < _USERS_AT_ONCE:
            item_id, _ = self._dirty.popitem(last=len(batch) % 2 == 0)
            batch.append(item_id)
            users += self.supports[item_id].users if item_id in self.supports else 0
        return batch

    def _put_back(self, item_ids: Iterable[str]) -> None:
        for item_id in item_ids:
            self._dirty[item_id] = None
            self._dirty.move_to_end(item_id)
        self._wake.set()

    async def _note_due(self) -> None:
        if not self._due:
            return
        positives = await self._state.item_supports.positives()
        while self._due and self._due[0][0] <= positives:
            due_at, item_id = heapq.heappop(self._due)
            if self._due_at.get(item_id) == due_at:
                del self._due_at[item_id]
                self._dirty.setdefault(item_id)

    async def _catch_up(self) -> None:
        self._position, supports = await self._state.item_supports.snapshot()
        self._note(supports, is_all=True)

    def _note(self, changes: Mapping[str, SupportChange], *, is_all: bool) -> None:
        gone = {i for i, change in changes.items() if change.users == 0}
        if is_all:
            gone |= self.supports.keys() - changes.keys()
        self.mark(gone)
        for item_id in gone:
            self.supports.pop(item_id, None)
        there = {i: change for i, change in changes.items() if i not in gone}
        self.supports.update(there)
        self.mark(there)

    async def _adapt(self, model: ServingModel, item_ids: Sequence[str]) -> None:
        wanted = [i for i in item_ids if model.catalogue.untrained_row(i) is not None]
        if not wanted:
            return
        works = await self._read(model, wanted)
        if works:
            self._place(model, works, await asyncio.to_thread(compute, model, works))

    async def _read(self, model: ServingModel, item_ids: Sequence[str]) -> list[Work]:
        """What is to be done for some items; those that nobody took are put back at once."""
        positives, reads = await self._state.item_supports.read(item_ids)
        works = []
        for item_id in item_ids:
            row = model.catalogue.untrained_row(item_id)
            if row is None:
                continue
            read = reads.get(item_id)
            heard = None if read is None else hear(model, read, positives)
            if read is None or heard is None or not heard.records:
                self._forget(model, item_id, row)
                continue
            self._follow_exposure(item_id, heard, positives)
            adapted = adapted_by(heard, read)
            self._exposure[item_id] = adapted.exposure
            if model.adapted.get(item_id) != adapted:
                (vector_D,), (bias,) = model.catalogue.priors([row])
                works.append(Work(item_id, row, (vector_D, bias), heard.records, adapted))
        return works

    def _forget(self, model: ServingModel, item_id: str, row: int) -> None:
        model.catalogue.restore(row)
        model.adapted.pop(item_id, None)
        self._due_at.pop(item_id, None)
        self._exposure.pop(item_id, None)

    def _follow_exposure(self, item_id: str, heard: Heard, positives: int) -> None:
        due_at = positives + next_exposure(heard.exposure) - heard.exposure
        if heard.is_final:
            self._due_at.pop(item_id, None)
        elif self._due_at.get(item_id) != due_at:
            self._due_at[item_id] = due_at
            heapq.heappush(self._due, (due_at, item_id))

    def _place(
        self, model: ServingModel, works: Sequence[Work], moved: tuple[Floats, Floats]
    ) -> None:
        """Move items that are as they were when they were read; the others come again."""
        for work, vector_D, bias in zip(works, *moved, strict=True):
            (prior_D,), (prior_bias,) = model.catalogue.priors([work.row])
            if not np.array_equal(prior_D, work.prior[0]) or prior_bias != work.prior[1]:
                self.mark([work.item_id])
            elif not np.isfinite([*vector_D, bias]).all():
                model.catalogue.restore(work.row)
                model.adapted.pop(work.item_id, None)
            else:
                model.catalogue.move(work.row, vector_D, bias)
                model.adapted[work.item_id] = work.adapted
                self._metrics.items_adapted.inc()
