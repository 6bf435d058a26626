"""A training run's checkpoint: one file, replaced atomically, loaded without unpickling code.

Knows nothing of what is inside but the fingerprint of the run that wrote it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.errors import TrainingError


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
