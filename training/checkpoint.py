"""A training run's checkpoint: one file, replaced atomically, loaded without unpickling code.

Knows nothing of what is inside but the fingerprint of the run that wrote it.
"""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recsvc.contract.registry import Registry
from training.errors import TrainingError

ABANDONED_AFTER_S = 7 * 86_400
"""A run that was killed may be resumed for so long; then what it left goes."""
_LEFT_BY_RUNS = (".checkpoint-*.pt", "..checkpoint-*.pt.*", ".staging-*", "recsvc-staging-*")
"""Checkpoints, checkpoints being written, versions being built here and for an object store."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run keeps its state."""

    path: Path
    fingerprint: str
    """Of the data and the settings: a run resumes only from its own checkpoint."""

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file with a new state.

        Raises:
            TrainingError: it cannot be written (a full disk, no permission); the old one stays.
        """
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                torch.save({"fingerprint": self.fingerprint, "state": state}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self.path)
        except (OSError, RuntimeError) as exc:  # torch reports a failed write as RuntimeError
            raise TrainingError(
                f"checkpoint {self.path} cannot be written: {exc}; free disk space or choose "
                "another place, then run the same command again"
            ) from exc
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state of the same run, or None where there is none or it is another run's."""
        try:
            saved = torch.load(self.path, map_location=device, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as exc:  # whatever is wrong inside a damaged file
            raise TrainingError(
                f"checkpoint {self.path} is damaged ({exc}); delete it to train from the start"
            ) from exc
        if not isinstance(saved, dict) or saved.get("fingerprint") != self.fingerprint:
            return None
        state: dict[str, Any] = saved["state"]
        return state

    def remove(self) -> None:
        """Delete the file, where there is one."""
        self.path.unlink(missing_ok=True)


def checkpoint_directory(registry: Registry) -> Path:
    """Where runs for a registry keep their checkpoints: in it, or in the temporary directory."""
    return Path(registry.url) if registry.is_local else Path(tempfile.gettempdir())


def remove_abandoned(registry: Registry, clock_s: float | None = None) -> list[Path]:
    """Remove what runs that were killed left longer than `ABANDONED_AFTER_S` ago.

    Args:
        clock_s: seconds since 1970; None: now.

    Returns:
        What was removed. What may not be removed stays, for others may own it.
    """
    now_s = time.time() if clock_s is None else clock_s
    directory, removed = checkpoint_directory(registry), []
    for path in [p for pattern in _LEFT_BY_RUNS for p in directory.glob(pattern)]:
        try:
            if now_s - path.stat().st_mtime < ABANDONED_AFTER_S:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError:
            continue
        removed.append(path)
    return removed
