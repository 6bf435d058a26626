"""Retrain: drain the event log, merge, fit, compare with the current version, promote.

Knows nothing of schedules. The service is not told: it sees the new CURRENT and swaps by itself.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from recsvc.contract.manifest import Manifest
from recsvc.contract.registry import Registry
from training.checkpoint import remove_abandoned
from training.datasets import Dataset, OnBadRow, load
from training.datasets.archived import Archived, merge_archive, read_events
from training.errors import SettingError, TrainingError
from training.fit import fit
from training.gate import GateConfig, Verdict, gate_window, judge, usable_users
from training.kernel.train import KernelConfig
from training.outer_loop import Progress, TrainConfig
from training.served import DEFAULT_KERNEL
from training.tasks import Histories, positives

Outcome = Literal["promoted", "refused", "skipped"]

CONSUMED = "archive.last_ms"
"""The decision of a manifest that says how far it read the archive."""
_HELD_OUT_ONE_IN = 4
_MERGED = ".merged-"


@dataclass(frozen=True, slots=True)
class RetrainConfig:
    """What to retrain from, and when it is worth it."""

    data: Path
    """The base data set."""
    registry: str
    archive: Path
    """Directory of the archived event log."""
    redis_url: str | None = None
    """Where to drain the log from first; None: the archive as it is."""
    min_new_events: int = 1
    """Fewer events than this since the last retraining: nothing is done."""
    on_bad_row: OnBadRow = "fail"
    """What to do with bad rows of the base data."""

    def __post_init__(self) -> None:
        if self.min_new_events < 1:
            raise SettingError(f"min_new_events is {self.min_new_events}; it must be 1 or above")


@dataclass(frozen=True, slots=True)
class Result:
    """What one retraining did."""

    outcome: Outcome
    reason: str
    events: int
    """Archived events."""
    version: str | None = None
    """The candidate, promoted or refused."""
    verdict: Verdict | None = None

    def document(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "events": self.events,
            "version": self.version,
            "verdict": self.verdict.document() if self.verdict else None,
        }


def retrain(
    config: RetrainConfig,
    train: TrainConfig,
    gate: GateConfig,
    now: datetime,
    *,
    kernel: KernelConfig | None = DEFAULT_KERNEL,
    say: Callable[[str], None] = lambda _: None,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Retrain once.

    A fixed quarter of the users who are new since the base data, chosen by a hash of their id,
    never takes part in training; candidate and current version rank for them alike.

    Args:
        config: where everything is.
        train: settings of the outer loop.
        gate: when a candidate passes.
        now: the candidate's time.
        kernel: settings of the item-item kernel; None: none is tried.
        say: told each step in a sentence.
        on_epoch: called after every epoch.

    Raises:
        SettingError: the archive's directory cannot be made.
        TrainingError: another retraining runs, the log cannot be drained, or training fails.
        DataError: base data or archive are unreadable.
        RegistryError: the registry cannot be read or written.
    """
    try:
        config.archive.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingError(
            f"--archive {config.archive} cannot be a directory ({exc.strerror or exc}); name the "
            "one that `recsvc archive` writes, or one to make"
        ) from exc
    lock = FileLock(config.archive / ".retrain.lock", timeout=0)
    try:
        with lock:
            if config.redis_url is not None:
                drain(config.redis_url, config.archive)
                say(f"drained the event log into {config.archive}")
            return _retrain(config, train, gate, now, kernel, say, on_epoch)
    except Timeout as exc:
        raise TrainingError(
            f"another retraining holds {lock.lock_file}; wait for it to end"
        ) from exc


def drain(redis_url: str, archive: Path) -> None:
    """Run `recsvc archive --once`, the service's own command, as a process of its own.

    Raises:
        TrainingError: it fails; the message is its last line.
    """
    code = "from recsvc.cli import main; main()"
    command = [sys.executable, "-c", code, "archive", "--once", "--out", str(archive)]
    environment = os.environ | {"RECSVC_REDIS_URL": redis_url}  # it may hold a password
    done = subprocess.run(  # noqa: S603  # our own command
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrainingError(f"the event log could not be drained: {last.removeprefix('error: ')}")


def _retrain(
    config: RetrainConfig,
    train: TrainConfig,
    gate: GateConfig,
    now: datetime,
    kernel: KernelConfig | None,
    say: Callable[[str], None],
    on_epoch: Callable[[Progress], None],
) -> Result:
    registry = Registry(config.registry)
    for path in remove_abandoned(registry):
        say(f"removed {path.name}, which a run that was killed had left")
    current = registry.current()
    events = read_events(config.archive)
    seen_ms = _consumed_ms(registry)
    fresh = int((events["log_ms"] > seen_ms).sum())
    say(f"{len(events)} archived events, {fresh} since the last retraining")
    if fresh < config.min_new_events:
        reason = (
            f"{fresh} events since the last retraining; at least {config.min_new_events} are wanted"
        )
        return Result("skipped", reason, len(events))
    dataset, added = _merged(config, say)
    histories = positives(dataset)
    held_out = np.zeros(0, np.int64)  # without a current version there is nothing to compare with
    if current is not None:
        held_out = _held_out(dataset, histories, added, registry.manifest(current.version))
    if current is not None and len(held_out) < gate.min_users:
        reason = (
            f"{len(held_out)} new users with enough interactions could be held out; "
            f"at least {gate.min_users} are needed to compare with the current version"
        )
        return Result("skipped", reason, added.events)
    parent = current.version if current else None
    fitted = fit(
        dataset,
        registry,
        train,
        now,
        kernel=kernel,
        held_out=held_out,
        parent=parent,
        notes={CONSUMED: str(added.last_ms)},
        on_epoch=on_epoch,
    )
    version = fitted.manifest.version
    if current is None:
        registry.promote(version, now)
        return Result("promoted", "there was no current version", added.events, version)
    verdict = judge(
        registry.open(version),
        registry.open(current.version),
        dataset,
        histories,
        held_out,
        fitted.data.candidates_N,
        gate,
        train.seed,
    )
    registry.annotate(version, "gate.json", verdict.document())
    if verdict.promote:
        registry.promote(version, now)
    outcome: Outcome = "promoted" if verdict.promote else "refused"
    return Result(outcome, verdict.reason, added.events, version, verdict)


def _merged(config: RetrainConfig, say: Callable[[str], None]) -> tuple[Dataset, Archived]:
    for left in config.archive.glob(f"{_MERGED}*"):  # by a retraining that was killed
        shutil.rmtree(left, ignore_errors=True)
    base = load(config.data, on_bad_row=config.on_bad_row)
    with tempfile.TemporaryDirectory(dir=config.archive, prefix=_MERGED) as place:
        added = merge_archive(base, config.archive, Path(place) / base.name)
        dataset = load(Path(place) / base.name, on_bad_row="skip")
    for reason, rows in dataset.report.rows_skipped.items():
        say(f"{rows} merged rows left out: {reason}")
    return dataset, added


def _consumed_ms(registry: Registry) -> int:
    """Arrival of the newest event that any retrained version of the registry learned from."""
    notes = (registry.manifest(v).lineage.decisions.get(CONSUMED, "0") for v in registry.versions())
    return max(map(int, notes), default=0)


def _held_out(
    dataset: Dataset, histories: Histories, added: Archived, current: Manifest
) -> NDArray[np.int64]:
    """The new users who never take part in training, as far as they can be ranked for."""
    mine = np.fromiter(
        (u in added.new_users and _never_trained(u) for u in dataset.user_ids), np.bool_
    )
    users = np.flatnonzero(mine)
    if not len(users):
        return users
    theirs = histories.take(users)
    return users[usable_users(theirs, gate_window(theirs, current))]


def _never_trained(user_id: str) -> bool:
    digest = hashlib.sha256(b"recsvc-gate:" + user_id.encode()).digest()
    return digest[0] % _HELD_OUT_ONE_IN == 0
