"""Finished runs kept on disk, so that an interrupted evaluation goes on where it was.

Knows nothing of protocols. A run is found again only under the same data, settings, code and
library versions; a damaged file counts as none.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import recsvc.contract.schema
import training
from training.evaluate import MethodRun

_BASELINE_CODE = (
    "baselines/",
    "datasets/",
    "low_ratings.py",
    "methods.py",
    "metrics.py",
    "tasks.py",
)
_NEVER_CODE = ("cli.py", "demo.py", "evaluate.py", "progress.py", "report.py", "summary.py")
"""Shows figures or pools them, and moves none."""
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "implicit", "torch", "recsvc")


def default_directory() -> Path:
    """The user's cache directory of finished runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recsvc" / "evaluate"


def library_versions() -> dict[str, str]:
    """Versions of what can move a figure."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def code_hash(is_baseline: bool, protocol_code: Sequence[str] = ()) -> str:
    """Hash of the source files that can move a figure.

    Args:
        is_baseline: the code of our own model counts for all other methods only.
        protocol_code: files or folders of the protocol itself, relative to `training/`; what
            other protocols are made of does not count.
    """
    root = Path(training.__file__).parent
    digest = hashlib.sha256(Path(recsvc.contract.schema.__file__).read_bytes())
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root).as_posix()
        own = relative.startswith(tuple(protocol_code))
        shared = relative.startswith(_BASELINE_CODE) if is_baseline else True
        other = relative.startswith(("protocols/", *_NEVER_CODE))
        if own or (shared and not other):
            digest.update(relative.encode() + path.read_bytes())
    return digest.hexdigest()


class RunStore:
    """A directory of finished runs, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, key: Mapping[str, Any]) -> MethodRun | None:
        """The run of this key, or None where there is none that can be read."""
        path = self._path(key)
        try:
            # Opened here: where the file is damaged, numpy would leave it open.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                facts = json.loads(str(arrays["facts"]))
                return MethodRun(
                    figures_nVUM=arrays["figures_nVUM"],
                    validation_n=arrays["validation_n"],
                    **facts,
                )
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
            return None

    def save(self, key: Mapping[str, Any], run: MethodRun) -> None:
        """Keep a run: all of it or nothing."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}.partial")
        facts = {
            "method": run.method,
            "seed": run.seed,
            "settings": dict(run.settings),
            "fit_s": run.fit_s,
            "score_s": run.score_s,
        }
        try:
            with aside.open("wb") as stream:
                np.savez_compressed(
                    stream,
                    figures_nVUM=run.figures_nVUM,
                    validation_n=run.validation_n,
                    facts=np.array(json.dumps(facts)),
                )
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def _path(self, key: Mapping[str, Any]) -> Path:
        text = json.dumps(key, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:24]
        return self._directory / f"{key['method']}-seed{key['seed']}-{digest}.npz"
