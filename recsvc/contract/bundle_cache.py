"""Copies of a remote registry's versions in a local directory, which processes of a host share.

Knows nothing of where they come from.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from recsvc.contract.manifest import MANIFEST_FILE

KEPT_VERSIONS = 2
"""Copies that stay besides those that somebody names, the last opened first."""


class BundleCache:
    """One directory of copies.

    Args:
        directory: of one registry's versions alone: names may repeat elsewhere.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, version: str) -> Path | None:
        """The copy of a version, if there is one; it counts as opened now."""
        copy = self._directory / version
        if not (copy / MANIFEST_FILE).is_file():
            return None
        with suppress(OSError):  # another user's: then it is kept by its name or not at all
            os.utime(copy)
        return copy

    def add(self, version: str, fill: Callable[[Path], None]) -> Path:
        """Make a copy, all of it or nothing.

        Args:
            fill: writes the files into a directory.

        Raises:
            OSError: the cache cannot be written.
        """
        copy = self._directory / version
        self._directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=self._directory, prefix=".copy-"))
        try:
            fill(staging)
            if copy.exists():
                shutil.rmtree(copy)
            staging.replace(copy)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return copy

    def prune(self, named: Collection[str | None]) -> None:
        """Remove all copies but those of these versions and the `KEPT_VERSIONS` opened last.

        A process that has a removed one open keeps its files.
        """
        copies = [p for p in self._directory.iterdir() if p.name[0] != "." and p.name not in named]
        for copy in sorted(copies, key=_opened_s, reverse=True)[KEPT_VERSIONS:]:
            aside = copy.with_name(f".drop-{copy.name}")  # never half a version under its name
            with suppress(OSError):  # another process is at it
                copy.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)


def _opened_s(copy: Path) -> float:
    try:
        return copy.stat().st_mtime
    except FileNotFoundError:  # another process just removed it
        return 0.0
