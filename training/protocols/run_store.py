"""Finished runs kept on disk, so that an interrupted evaluation goes on where it was.

Knows nothing of protocols. A run is found again only under the same data, settings, code and
library versions; a damaged file counts as none.
"""

import ast
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
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
_NEVER_CODE = ("cli.py", "demo.py", "evaluate.py", "progress.py", "report/", "summary.py")
"""Shows figures or pools them, and moves none."""
_REGISTRY = "protocols/registry.py"
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


def code_hash(is_baseline: bool, protocol_code: Sequence[str]) -> str:
    """Hash of the source files that can move a figure.

    Args:
        is_baseline: the code of our own models counts for all other methods only: whatever the
            protocol imports, directly or not.
        protocol_code: files or folders of the protocol itself, relative to `training/`; what
            other protocols are made of does not count.
    """
    return _code_hash(is_baseline, tuple(protocol_code))


@cache  # the code that runs is the code that was there when the process began
def _code_hash(is_baseline: bool, protocol_code: tuple[str, ...]) -> str:
    root = Path(training.__file__).parent
    files = {path.relative_to(root).as_posix() for path in root.rglob("*.py")}
    own = {name for name in files if name.startswith(protocol_code)}
    counted = set(own)
    if is_baseline:
        counted |= {name for name in files if name.startswith(_BASELINE_CODE)}
    else:
        reached = _reached(root, own)
        counted |= {name for name in reached if not name.startswith(("protocols/", *_NEVER_CODE))}
        counted |= reached & {_REGISTRY}
    digest = hashlib.sha256(Path(recsvc.contract.schema.__file__).read_bytes())
    for name in sorted(counted):
        digest.update(name.encode() + (root / name).read_bytes())
    return digest.hexdigest()


def _reached(root: Path, start: Iterable[str]) -> set[str]:
    """Files of `training/` that some of its files import, directly or not, and those themselves."""
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _imported(root, name)
    return reached


def _imported(root: Path, name: str) -> Iterator[str]:
    """Files of `training/` that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse((root / name).read_bytes())):
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            package, *parts = module.split(".")
            if package == training.__name__:
                places = ["/".join(parts[: i + 1]) for i in range(len(parts))]
                files = [f"{at}{ending}" for at in places for ending in (".py", "/__init__.py")]
                yield from (file for file in files if (root / file).is_file())


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
