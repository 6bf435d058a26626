"""The door that every protocol goes through: what it is asked, what it gives back, how it runs.

Knows nothing of any one protocol. A protocol says its name, the options and methods that it knows,
and runs on a request; `run_methods` is the loop they share: every method on every seed, with
finished runs kept on disk and found again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from training.datasets import Dataset
from training.errors import SettingError
from training.evaluate import Evaluation, MethodRun
from training.protocols.registry import MethodSpec
from training.protocols.run_store import RunStore, code_hash, library_versions

MethodT = TypeVar("MethodT")
SplitT = TypeVar("SplitT")


@dataclass(frozen=True)
class Request:
    """What a protocol is asked to run."""

    dataset: Dataset
    seeds: Sequence[int]
    """One split each."""
    methods: Sequence[str] = ()
    """Names; all that the protocol knows where none is given."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Flags of the command line that were given, without their dashes."""
    work: Path | None = None
    """Directory where finished runs are kept, and found again by a later call; None: none."""
    on_run: Callable[[str], None] = lambda _: None
    """Called with a note after every method and seed."""
    resamples: int = 10_000
    """Of the bootstrap."""


class EvaluationProtocol(Protocol):
    """A way to hold out and to measure."""

    @property
    def name(self) -> str:
        """As `--protocol` takes it."""

    @property
    def summary(self) -> str:
        """Who is held out and what is asked, in a few words."""

    @property
    def options(self) -> tuple[str, ...]:
        """The flags that it understands; every other one is refused."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that it knows, in the order of its tables."""

    def run(self, request: Request) -> Evaluation:
        """Run every method on every seed.

        Raises:
            DataError: the data set lacks what the protocol needs.
            SettingError: a wrong method, seed or option.
        """


def run_methods(
    request: Request,
    specs: Sequence[MethodSpec[MethodT]],
    *,
    protocol: str,
    conditions: Mapping[str, Any],
    code: Sequence[str],
    split: Callable[[int], SplitT],
    run: Callable[[MethodSpec[MethodT], SplitT], MethodRun],
) -> list[MethodRun]:
    """Run every method on every seed; finished ones come from the store.

    Args:
        request: data set, seeds and store.
        specs: what to compare; names differ.
        protocol: its name.
        conditions: whatever else decides a run (window, cut), in JSON's types.
        code: the protocol's own source files, relative to `training/`: a change of them makes
            stored runs stale.
        split: makes a seed's split; not called where all its runs are found.
        run: fits one method on a split and measures it.

    Raises:
        SettingError: no seed, no method, or two of one name.
    """
    _check(specs, request.seeds)
    store = RunStore(request.work) if request.work is not None else None
    runs = []
    for seed in request.seeds:
        made: SplitT | None = None
        for spec in specs:
            key = {
                "protocol": protocol,
                "data": request.dataset.sha256,
                "config": request.dataset.config.model_dump(mode="json"),
                "method": spec.name,
                "variant": spec.variant,
                "seed": seed,
                "code": code_hash(spec.is_baseline, code),
                "versions": library_versions(),
                **conditions,
            }
            found = store.load(key) if store is not None else None
            if found is None:
                made = split(seed) if made is None else made
                found = run(spec, made)
                if store is not None:
                    store.save(key, found)
            runs.append(found)
            request.on_run(f"{protocol}: {spec.name}, seed {seed}")
    return runs


def _check(specs: Sequence[MethodSpec[Any]], seeds: Sequence[int]) -> None:
    names = [spec.name for spec in specs]
    if not names or len(set(names)) < len(names):
        raise SettingError(f"--methods: {names} must be one name or more, each once")
    if not seeds or len(set(seeds)) < len(seeds):
        raise SettingError(f"--seeds: {list(seeds)} must be one seed or more, each once")
