"""New counts make new edges: same vectors, same kernel, no training."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from recsvc.bundle import load_bundle
from recsvc.contract.manifest import write_manifest
from recsvc.contract.registry import Registry
from tests.training.worlds import CLUSTER, neighbourhoods
from training.cli import run
from training.datasets import load
from training.errors import TrainingError
from training.fit import fit
from training.kernel.train import KernelConfig
from training.outer_loop import TrainConfig
from training.refresh import refresh_kernel

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC)
ITEMS = 60 * CLUSTER
SMALL = TrainConfig(dims=4, max_epochs=2, device="cpu")


def write(directory: Path, pairs: list[tuple[str, str]]) -> Path:
    directory.mkdir(parents=True)
    users, items = zip(*pairs, strict=True)
    times = np.arange(len(pairs)) + 1_700_000_000
    frame = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": times})
    frame.write_parquet(directory / "interactions.parquet")
    return directory


def base_pairs() -> list[tuple[str, str]]:
    histories = neighbourhoods(users=600, clusters=60, seed=3)
    rows = zip(histories.user_E.tolist(), histories.item_E.tolist(), strict=True)
    return [(f"u{u}", f"i{i}") for u, i in rows]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base data, and a current version with a kernel."""
    path = tmp_path_factory.mktemp("refresh")
    dataset = load(write(path / "data", base_pairs()))
    registry = Registry(path / "registry")
    fitted = fit(dataset, registry, SMALL, NOW, kernel=KernelConfig(max_epochs=3))
    assert fitted.manifest.kernel is not None
    registry.promote(fitted.manifest.version, NOW)
    return path


def test_the_same_counts_make_the_same_edges(place: Path) -> None:
    """Validation users' pairs apart, which training left out, nothing moves without new data."""
    registry = Registry(place / "registry")
    before = load_bundle(registry.open(registry.versions()[0]))
    manifest = refresh_kernel(load(place / "data"), registry, LATER)
    after = load_bundle(registry.open(manifest.version))
    assert before.edges is not None
    assert after.edges is not None
    assert manifest.lineage.parent == before.version
    assert np.array_equal(before.vectors_ND, after.vectors_ND)
    ratio = len(after.edges.item_E) / len(before.edges.item_E)
    assert 1.0 <= ratio < 1.2
    assert registry.current().version == before.version  # type: ignore[union-attr]


def test_a_pair_that_users_begin_to_take_gets_an_edge(place: Path, tmp_path: Path) -> None:
    """Forty new users take two items of different neighbourhoods, and a new item nobody knows."""
    registry = Registry(place / "registry")
    first, second = "i0", f"i{ITEMS - 1}"
    new = [(f"n{u}", item) for u in range(40) for item in (first, second, "unheard-of")]
    dataset = load(write(tmp_path / "data", base_pairs() + new))
    manifest = refresh_kernel(dataset, registry, LATER + timedelta(hours=1))
    bundle = load_bundle(registry.open(manifest.version))
    assert bundle.edges is not None
    rows = [bundle.item_ids.index(i) for i in (first, second)]
    _, items, strengths = bundle.edges.of(np.array(rows[:1]))
    assert rows[1] in items
    assert strengths[items == rows[1]] > 0
    assert "unheard-of" not in bundle.item_ids


def test_a_version_without_a_kernel_has_nothing_to_refresh(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a scheduled job that is no failure: exit code 0, and why, for people and machines."""
    registry = Registry(shutil.copytree(place / "registry", tmp_path / "registry"))
    version = registry.versions()[0]
    registry.promote(version, LATER)
    manifest = registry.manifest(version).model_copy(update={"kernel": None})
    write_manifest(registry.open(version), manifest)
    before = registry.versions()
    where = ["--data", str(place / "data"), "--registry", registry.url]
    assert run(["refresh", *where, "--promote"]) == 0
    why = (
        f"version {version} serves the vector alone, it has no item-item edges "
        f"({manifest.lineage.decisions['item_item_kernel']})"
    )
    assert capsys.readouterr().out == f"nothing to refresh: {why}\n"
    assert run(["refresh", *where, "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out) == {
        "version": None, "promoted": False, "edges": None, "reason": why,
    }  # fmt: skip
    assert registry.versions() == before
    with pytest.raises(TrainingError, match="nothing to refresh"):
        refresh_kernel(load(place / "data"), registry, LATER)


def test_the_command_promotes_when_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`refresh --promote` ends with the new version as CURRENT."""
    where = ["--data", str(place / "data"), "--registry", str(place / "registry")]
    assert run(["refresh", *where, "--promote"]) == 0
    printed = capsys.readouterr().out
    current = Registry(place / "registry").current()
    assert current is not None
    assert printed.startswith(f"{current.version} is CURRENT")


def test_without_a_current_version_there_is_nothing_to_refresh(place: Path, tmp_path: Path) -> None:
    """An empty registry names the command to run first."""
    with pytest.raises(TrainingError, match="recsvc-train fit"):
        refresh_kernel(load(place / "data"), Registry(tmp_path / "none"), NOW)
