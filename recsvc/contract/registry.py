"""The registry: versions of bundles in a directory or an object store, and which one is current.

Knows nothing of what is inside a bundle but its manifest. Layout, under any fsspec URL:

    <root>/<version>/manifest.json ...  a version exists once its manifest does
    <root>/CURRENT                      {"version", "previous", "promoted_at"}, replaced atomically
"""

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsvc.contract.bundle_cache import BundleCache
from recsvc.contract.errors import RegistryError, VersionNotFoundError
from recsvc.contract.manifest import MANIFEST_FILE, Manifest, parse_manifest

CURRENT_FILE = "CURRENT"
VERSION_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,127}$"


class Current(BaseModel):
    """The pointer to the version that serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(pattern=VERSION_PATTERN)
    previous: str | None = Field(default=None, pattern=VERSION_PATTERN)
    promoted_at: str


def new_version(now: datetime) -> str:
    """A version name that sorts by time: UTC, microseconds."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


class Registry:
    """Versions under one URL.

    Args:
        url: a directory, or any URL that an installed fsspec back end opens (`s3://bucket/models`).
        cache: where versions of a remote registry are copied to before they are opened; the
            current one, the previous one and those opened last stay there.
    """

    def __init__(self, url: str | Path, cache: Path | None = None) -> None:
        self.url = str(url)
        try:
            fs, self._root = fsspec.core.url_to_fs(self.url)
            if not isinstance(fs, LocalFileSystem):  # a cached listing would hide new versions
                fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
            self._fs = fs
        except (ValueError, ImportError, TypeError) as exc:
            raise RegistryError(f"registry {self.url!r} cannot be opened: {exc}") from exc
        # An object store's client raises errors of its own, which share no base but Exception.
        self._failures: tuple[type[Exception], ...] = (
            (OSError,) if isinstance(fs, LocalFileSystem) else (Exception,)
        )
        self._unreadable = (*self._failures, ValidationError)
        cache = cache or Path(tempfile.gettempdir()) / "recsvc-bundles"
        self._cache = BundleCache(cache / hashlib.sha256(self.url.encode()).hexdigest()[:16])

    @property
    def is_local(self) -> bool:
        return isinstance(self._fs, LocalFileSystem)

    def versions(self) -> list[str]:
        """All versions, oldest first. A missing registry holds none."""
        try:
            if not self._fs.exists(self._root):
                return []
            names = [Path(p).name for p in self._fs.ls(self._root, detail=False)]
            return sorted(
                n
                for n in names
                if not n.startswith(".") and self._fs.exists(self._join(n, MANIFEST_FILE))
            )
        except self._failures as exc:
            raise RegistryError(f"registry {self.url} cannot be listed: {exc}") from exc

    def current(self) -> Current | None:
        """The pointer, or None where nothing was promoted yet.

        Raises:
            RegistryError: the pointer cannot be read or is no pointer.
        """
        path = self._join(CURRENT_FILE)
        try:
            return Current.model_validate_json(self._fs.cat_file(path))
        except FileNotFoundError:
            return None
        except self._unreadable as exc:
            raise RegistryError(f"{path} is unreadable: {exc}; promote a version again") from exc

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version.

        Raises:
            VersionNotFoundError: there is no such version.
            RegistryError: its manifest cannot be read.
            BundleCorruptError: its manifest is not the one that was written.
        """
        try:
            raw = self._fs.cat_file(self._join(version, MANIFEST_FILE))
            return parse_manifest(raw, f"version {version!r}: {MANIFEST_FILE}")
        except FileNotFoundError as exc:
            raise VersionNotFoundError(
                f"registry {self.url} has no version {version!r}; it has {self.versions()}"
            ) from exc
        except self._failures as exc:
            raise RegistryError(f"version {version!r}: manifest unreadable: {exc}") from exc

    def promote(self, version: str, now: datetime) -> Current:
        """Point CURRENT at a version; the one before becomes `previous`.

        Raises:
            VersionNotFoundError: there is no such version.
        """
        self.manifest(version)
        before = self.current()
        if before is not None and before.version == version:
            return before
        pointer = Current(
            version=version,
            previous=before.version if before else None,
            promoted_at=now.astimezone(UTC).isoformat(),
        )
        self._replace(CURRENT_FILE, pointer.model_dump_json().encode())
        return pointer

    def rollback(self, now: datetime) -> Current:
        """Point CURRENT at the version before; the two change places.

        Raises:
            RegistryError: there is no version before.
        """
        pointer = self.current()
        if pointer is None or pointer.previous is None:
            raise RegistryError(f"registry {self.url} has no previous version to roll back to")
        return self.promote(pointer.previous, now)

    def annotate(self, version: str, name: str, document: dict[str, Any]) -> None:
        """Keep a JSON document beside a version's sealed files, replacing an earlier one.

        Args:
            document: of JSON's types, so without NaN.

        Raises:
            VersionNotFoundError: there is no such version.
            RegistryError: it cannot be written.
        """
        self.manifest(version)
        self._replace(f"{version}/{name}", json.dumps(document, indent=2, allow_nan=False).encode())

    def open(self, version: str) -> Path:
        """A local directory that holds the version; a remote one is copied once, then reused.

        Raises:
            VersionNotFoundError: there is no such version.
            RegistryError: it cannot be copied.
        """
        manifest = self.manifest(version)
        if self.is_local:
            return Path(self._join(version))
        if (copy := self._cache.find(version)) is not None:
            return copy

        def download(directory: Path) -> None:
            for name in [*manifest.files, MANIFEST_FILE]:
                self._fs.get_file(self._join(version, name), str(directory / name))

        try:
            copy = self._cache.add(version, download)
        except self._failures as exc:
            raise RegistryError(f"version {version!r} cannot be copied: {exc}") from exc
        with suppress(RegistryError):  # an unreadable pointer: the next copy is an occasion too
            current = self.current()
            named = (current.version, current.previous) if current else ()
            self._cache.prune({version, *named})
        return copy

    def staging(self) -> Path:
        """A fresh local directory to build a version in; on a local registry's own disk.

        Raises:
            RegistryError: it cannot be made.
        """
        try:
            if self.is_local:
                Path(self._root).mkdir(parents=True, exist_ok=True)
                return Path(tempfile.mkdtemp(dir=self._root, prefix=".staging-"))
            return Path(tempfile.mkdtemp(prefix="recsvc-staging-"))
        except self._failures as exc:
            raise RegistryError(f"registry {self.url} cannot be written: {exc}") from exc

    def publish(self, staging: Path, version: str) -> None:
        """Make a finished directory a version, all or nothing.

        Raises:
            RegistryError: the version exists, or the registry cannot be written.
        """
        if self._fs.exists(self._join(version)):
            raise RegistryError(f"version {version!r} exists already in {self.url}")
        try:
            if self.is_local:
                for path in staging.iterdir():
                    _fsync(path)
                _fsync(staging)
                staging.chmod(0o755)
                staging.replace(self._join(version))
                _fsync(Path(self._root))
                return
            names = sorted(p.name for p in staging.iterdir() if p.name != MANIFEST_FILE)
            for name in [*names, MANIFEST_FILE]:  # the manifest last: it makes the version exist
                self._fs.put_file(str(staging / name), self._join(version, name))
            shutil.rmtree(staging)
        except self._failures as exc:
            raise RegistryError(f"version {version!r} cannot be written: {exc}") from exc

    def _replace(self, name: str, payload: bytes) -> None:
        path = self._join(name)
        try:
            if not self.is_local:
                self._fs.pipe_file(path, payload)  # one PUT is atomic on an object store
                return
            descriptor, temporary = tempfile.mkstemp(dir=Path(path).parent, prefix=".replace-")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(payload)
                    stream.flush()
                    os.fsync(stream.fileno())
                Path(temporary).chmod(0o644)
                Path(temporary).replace(path)
                _fsync(Path(path).parent)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except self._failures as exc:
            raise RegistryError(f"{path} cannot be written: {exc}") from exc

    def _join(self, *parts: Any) -> str:
        return "/".join([str(self._root).rstrip("/"), *map(str, parts)])


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
