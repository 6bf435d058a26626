"""Writes down who took an item that training did not know, and how much everybody takes.

It comes after the answer to the events, because those are durable then and a record is made from
them: what is lost between the two (the process or Redis died) is made good when the user's next
list rests on the item. A record is made from the user's events as they are when it is written, so
late, repeated and contradicted events all end the same. What counts is a user's first positive
event on a trained item: so training counts. Nothing is written while the serving model adapts no
items. Knows nothing of vectors.
"""

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from recsvc.contract.manifest import InteractionRules
from recsvc.errors import StateUnavailableError
from recsvc.recommender.item_records import record_of
from recsvc.recommender.model import ServingModel, UserView
from recsvc.state.events import Event
from recsvc.state.store import StateStore
from recsvc.state.support_entries import SupportChange, UserRecord
from recsvc.telemetry import Metrics

FLUSH_S = 0.25
"""Pause after each write: how long events may wait for the next one."""
RETRY_S = 0.5
SWEEP_S = 60.0
MAX_PENDING_USERS = 50_000
MAX_SETTLED = 100_000
_USERS_AT_ONCE = 32

_log = structlog.get_logger("recsvc.items")


class ItemRecorder:
    """What is to be written, and the job that writes it.

    Args:
        state: the store.
        serving: the model that serves; None while there is none.
        supports: where the support of each item stands, as far as this process knows.
        metrics: counts records.
    """

    def __init__(
        self,
        state: StateStore,
        serving: Callable[[], ServingModel | None],
        supports: Mapping[str, SupportChange],
        metrics: Metrics,
    ) -> None:
        self._state = state
        self._serving = serving
        self._supports = supports
        self._metrics = metrics
        self._positives = 0
        self._pending: OrderedDict[str, set[str]] = OrderedDict()
        """Item ids by user; who was noted last is last."""
        self._settled: set[int] = set()
        """Hashes of (user, item) whose record is as it should be."""
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()

    def counts(self, event: Event) -> bool:
        """Whether it is a positive event on a trained item, while the model adapts others."""
        model = self._adapting()
        return (
            model is not None
            and model.catalogue.trained_row(event.item_id) is not None
            and _is_positive(model.manifest.dataset.rules, event)
        )

    def note_events(self, events: Sequence[Event], firsts: int) -> None:
        """Take durable events into account, repeated ones too: an earlier attempt may have failed.

        Args:
            events: all that came.
            firsts: of those that count (`counts`), their users' first ones on the item.
        """
        model = self._adapting()
        if model is None:
            return
        if firsts:
            self._positives += firsts
            self._wake.set()
        rules, catalogue = model.manifest.dataset.rules, model.catalogue
        for event in events:
            if (
                catalogue.trained_row(event.item_id) is None
                and rules.weight(event.event) != 0
                and not (self._is_full(event.item_id) and _is_positive(rules, event))
            ):
                self.note(event.user_id, [event.item_id])

    def note_view(self, model: ServingModel, user_id: str, view: UserView) -> None:
        """Make good what was not written: a user is seen whose list rests on untrained items."""
        if model.manifest.item_adaptation is None:
            return
        catalogue = model.catalogue
        missing = [
            item_id
            for row, label in zip(view.rows, view.support.label_S, strict=True)
            if row >= catalogue.n_trained
            and label == 1.0
            and hash((user_id, item_id := catalogue.ids[row])) not in self._settled
            and not self._is_full(item_id)
        ]
        if missing:
            self.note(user_id, missing)

    def note(self, user_id: str, item_ids: Iterable[str]) -> None:
        """Look at a user and some items soon; dropped where too many wait."""
        if user_id in self._pending or len(self._pending) < MAX_PENDING_USERS:
            self._pending.setdefault(user_id, set()).update(item_ids)
            self._pending.move_to_end(user_id)
            self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            try:
                await self.flush()
            except StateUnavailableError as exc:
                _log.warning("first interactions of items wait", error=str(exc))
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            await asyncio.sleep(FLUSH_S)

    async def sweep(self) -> None:
        """Remove records that have reached their end, now and then, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            with contextlib.suppress(StateUnavailableError):  # the next time does it
                await self._state.item_supports.drop_expired()

    async def flush(self) -> None:
        """Write as much as was there when it began; what comes meanwhile waits.

        Raises:
            StateUnavailableError: users wait for the next time; a count may be lost.
        """
        self._wake.clear()
        async with self._writing:
            for _ in range(max(1, math.ceil(len(self._pending) / _USERS_AT_ONCE))):
                if self._pending or self._positives:
                    await self._write_some()

    async def _write_some(self) -> None:
        batch: dict[str, set[str]] = {}
        while self._pending and len(batch) < _USERS_AT_ONCE:
            # By turns who came last and who came first: nobody waits behind a bulk load.
            user_id, item_ids = self._pending.popitem(last=len(batch) % 2 == 0)
            batch[user_id] = item_ids
        try:
            await self._write(batch)
        except BaseException:  # a stop in the middle too: the last flush writes what is left
            for user_id, item_ids in batch.items():
                self._pending.setdefault(user_id, set()).update(item_ids)
            raise

    async def _write(self, batch: Mapping[str, set[str]]) -> None:
        model = self._adapting()
        records = await self._records(model, batch) if model and batch else []
        positives, self._positives = self._positives, 0
        taken = await self._state.item_supports.put(positives, records)
        if len(self._settled) > MAX_SETTLED:
            self._settled.clear()
        for record, is_settled in zip(records, taken, strict=True):
            pair = hash((record.user_id, record.item_id))
            if is_settled and record.record is not None:
                self._settled.add(pair)
            else:  # taken back, or refused: the next list looks again
                self._settled.discard(pair)
        self._metrics.item_interactions.inc(sum(taken))

    async def _records(
        self, model: ServingModel, batch: Mapping[str, set[str]]
    ) -> list[UserRecord]:
        users = await self._state.read_users(list(batch))
        rules = model.manifest.dataset.rules
        records = []
        for (user_id, item_ids), user in zip(batch.items(), users, strict=True):
            judged = {e.item_id for e in user.events}
            for item_id in sorted(item_ids & judged):
                record = record_of(item_id, user.events, rules)
                of_bundle = model.catalogue.is_of_bundle(item_id)
                records.append(UserRecord(item_id, user_id, record, user.revision, of_bundle))
        return records

    def _adapting(self) -> ServingModel | None:
        model = self._serving()
        adapts = model is not None and model.manifest.item_adaptation is not None
        return model if adapts else None

    def _is_full(self, item_id: str) -> bool:
        change = self._supports.get(item_id)
        return change is not None and change.is_full


def _is_positive(rules: InteractionRules, event: Event) -> bool:
    return rules.weight(event.event) != 0 and rules.label(event.value) == 1.0
