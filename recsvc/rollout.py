"""Which bundle serves: follow the registry's CURRENT, load aside, swap, keep the one before.

A version that is broken or out of reach never takes the serving one down: the failure is logged,
counted, shown, and tried again later. Knows nothing of what a model is beyond its bundle: `prepare`
builds it, `bring_up` gets it up to date, `install` takes it into service.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import structlog

from recsvc.bundle import Bundle, Device, load_bundle
from recsvc.contract.errors import ContractError, RegistryError
from recsvc.contract.registry import Current, Registry
from recsvc.telemetry import Metrics

Model = TypeVar("Model")

MAX_RETRY_S = 60.0

_log = structlog.get_logger("recsvc.rollout")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Model]):
    """A version in memory."""

    version: str
    model: Model
    loaded_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a version does not serve, and when it is tried again."""

    version: str
    error: str
    at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """What `/v1/models` shows."""

    active: str | None
    previous: str | None
    current: str | None
    """What the registry points at; differs from `active` while a version loads or fails."""
    versions: tuple[str, ...]
    failures: dict[str, str]
    registry_error: str | None


class Rollout(Generic[Model]):
    """The serving version and the one before.

    Args:
        registry: where versions come from.
        prepare: builds a model from a bundle; called in a thread.
        bring_up: awaited with every model before it takes over.
        install: told of every model that takes over; called in the event loop.
        poll_s: seconds between looks at the registry.
        clock: the time now, UTC.
        metrics: counts loads that failed, and names the serving version.
        device: where the graphs run.
    """

    def __init__(
        self,
        registry: Registry,
        prepare: Callable[[Bundle], Model],
        bring_up: Callable[[Model], Awaitable[None]],
        install: Callable[[Model], None],
        poll_s: float,
        clock: Callable[[], datetime],
        metrics: Metrics,
        device: Device = "cpu",
    ) -> None:
        self._registry = registry
        self._prepare = prepare
        self._bring_up = bring_up
        self._install = install
        self._poll_s = poll_s
        self._clock = clock
        self._metrics = metrics
        self._device = device
        self.active: Loaded[Model] | None = None
        self.previous: Loaded[Model] | None = None
        self._failures: dict[str, Failure] = {}
        self._failed_pointer: Current | None = None
        self._registry_error: str | None = None
        self._checking = asyncio.Lock()

    async def start(self) -> None:
        """Load the current version.

        Raises:
            RegistryError: the registry is unreadable, or nothing in it is current.
            ContractError: the current bundle must not be served.
        """
        current = await asyncio.to_thread(self._registry.current)
        if current is None:
            raise RegistryError(no_current_message(self._registry))
        self._swap(await self._load(current.version))

    async def run(self) -> None:
        """Follow the registry until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            await self.check()

    async def activate(self, version: str) -> Current:
        """Verify a version, make it current, and serve it here; other processes follow by polling.

        Raises:
            VersionNotFoundError: there is no such version.
            ContractError: it must not be served, or the registry cannot be written.
        """
        pointer = await asyncio.to_thread(self._promote, version)
        await self.check()
        return pointer

    async def roll_back(self) -> Current:
        """Do the same for the version before the current one.

        Raises:
            RegistryError: there is none.
            ContractError: it must not be served, or the registry cannot be written.
        """
        current = await asyncio.to_thread(self._registry.current)
        if current is None or current.previous is None:
            raise RegistryError(f"registry {self._registry.url} has no previous version")
        return await self.activate(current.previous)

    async def check(self) -> None:
        """Look once; load and swap where another version is current."""
        async with self._checking:
            await self._check()

    async def _check(self) -> None:
        try:
            current = await asyncio.to_thread(self._registry.current)
        except (ContractError, OSError) as exc:
            self._note_registry(str(exc))
            return
        self._note_registry(None)
        if current is None or (self.active and self.active.version == current.version):
            return
        if (previous := self.previous) and previous.version == current.version:
            await self._bring_up(previous.model)
            self._swap(previous)
        elif self._is_due(current):
            await self._try(current)

    async def status(self) -> RolloutStatus:
        """What serves, what could, and what failed."""
        error = self._registry_error
        current: Current | None = None
        versions: list[str] = []
        try:
            current = await asyncio.to_thread(self._registry.current)
            versions = await asyncio.to_thread(self._registry.versions)
        except (ContractError, OSError) as exc:
            error = str(exc)
        return RolloutStatus(
            active=self.active.version if self.active else None,
            previous=self.previous.version if self.previous else None,
            current=current.version if current else None,
            versions=tuple(versions),
            failures={f.version: f.error for f in self._failures.values()},
            registry_error=error,
        )

    async def _try(self, current: Current) -> None:
        try:
            loaded = await self._load(current.version)
        except Exception as exc:  # whatever is wrong with a new version, the old one serves on
            self._fail(current, exc)
            return
        self._swap(loaded)

    def _promote(self, version: str) -> Current:
        load_bundle(self._registry.open(version), self._device)
        return self._registry.promote(version, self._clock())

    async def _load(self, version: str) -> Loaded[Model]:
        model = await asyncio.to_thread(self._build, version)
        await self._bring_up(model)
        return Loaded(version, model, self._clock())

    def _build(self, version: str) -> Model:
        return self._prepare(load_bundle(self._registry.open(version), self._device))

    def _swap(self, loaded: Loaded[Model]) -> None:
        self._install(loaded.model)
        before, self.active = self.active, loaded
        if before is not None:
            self.previous = before
            self._metrics.model_info.labels(before.version, "active").set(0)
        self._metrics.model_info.labels(loaded.version, "active").set(1)
        self._failures.pop(loaded.version, None)
        _log.info("model serves", version=loaded.version, before=before and before.version)

    def _fail(self, current: Current, exc: Exception) -> None:
        known = self._failures.get(current.version)
        attempts = known.attempts + 1 if known and self._failed_pointer == current else 1
        self._failures[current.version] = Failure(
            current.version, str(exc) or type(exc).__name__, self._clock(), attempts
        )
        self._failed_pointer = current
        self._metrics.model_load_failures.inc()
        _log.error("model refused", version=current.version, error=str(exc), attempts=attempts)

    def _is_due(self, current: Current) -> bool:
        """A version that failed is tried again ever more rarely, at once when promoted again."""
        failure = self._failures.get(current.version)
        if failure is None or self._failed_pointer != current:
            return True
        waited_s = (self._clock() - failure.at).total_seconds()
        return waited_s >= min(MAX_RETRY_S, self._poll_s * (1 << min(failure.attempts, 16)))

    def _note_registry(self, error: str | None) -> None:
        if error is not None and self._registry_error is None:
            _log.error("registry unreadable", error=error)
        elif error is None and self._registry_error is not None:
            _log.info("registry readable again")
        self._registry_error = error


def no_current_message(registry: Registry) -> str:
    """Why nothing can be served from a registry without a current version, and what to do."""
    versions = registry.versions()
    if versions:
        return (
            f"registry {registry.url} has no current version; it holds {', '.join(versions)}: run "
            f"recsvc models activate {versions[-1]} --registry {registry.url}"
        )
    return (
        f"registry {registry.url} holds no version; "
        f"run recsvc-train fit --data DIR --registry {registry.url}"
    )
