"""Copies of a remote registry's versions: made once, and not kept for ever."""

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from recsvc.contract.bundle_cache import KEPT_VERSIONS
from recsvc.contract.registry import Registry
from tests.recsvc.bundles import write_world

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_numbers = itertools.count()


@pytest.fixture
def url() -> Iterator[str]:
    """An object store's URL that nothing else uses."""
    url = f"memory://registry-{next(_numbers)}"
    yield url
    fs, root = fsspec.core.url_to_fs(url)
    if fs.exists(root):
        fs.rm(root, recursive=True)


def publish(registry: Registry, *versions: str) -> None:
    """Put versions into a registry; the last one becomes current."""
    for version in versions:
        staging = registry.staging()
        write_world(staging, version)
        registry.publish(staging, version)
        registry.promote(version, NOW)


def cached(cache: Path) -> set[str]:
    """Versions that lie in the cache."""
    return {path.parent.name for path in cache.rglob("manifest.json")}


def test_old_copies_are_removed(url: str, tmp_path: Path) -> None:
    """Current, previous and those opened last stay; what is gone is copied again when asked for."""
    registry = Registry(url, tmp_path)
    names = [f"v{n}" for n in range(6)]
    for age, version in enumerate(names):
        publish(registry, version)
        os.utime(registry.open(version), (age, age))
    assert cached(tmp_path) == set(names[-2 - KEPT_VERSIONS :])
    opened = registry.open("v0")
    assert (opened / "item_vectors.npy").is_file()
    assert cached(tmp_path) == {"v0", "v2", "v3", "v4", "v5"}
    assert registry.open("v0") == opened
    assert not list(tmp_path.rglob(".*"))


def test_a_rolled_back_version_stays(url: str, tmp_path: Path) -> None:
    """Whatever their age, the current and the previous version are kept."""
    registry = Registry(url, tmp_path)
    publish(registry, *(f"v{n}" for n in range(6)))
    registry.promote("v0", NOW)
    registry.promote("v1", NOW)
    for age, version in enumerate(("v0", "v1", "v2", "v3", "v4", "v5")):
        os.utime(registry.open(version), (age, age))
    assert {"v0", "v1"} <= cached(tmp_path)
    assert len(cached(tmp_path)) <= 3 + KEPT_VERSIONS


def test_registries_do_not_share_copies(url: str, tmp_path: Path) -> None:
    """Versions of one name in two registries are two versions."""
    one, other = Registry(f"{url}/one", tmp_path), Registry(f"{url}/other", tmp_path)
    publish(one, "v1")
    publish(other, "v1")
    assert one.open("v1") != other.open("v1")
