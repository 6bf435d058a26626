"""Loading what adapts items: checked like everything else in a bundle."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsvc.bundle import load_bundle
from recsvc.contract.errors import BundleRefusedError
from recsvc.contract.manifest import read_manifest, write_manifest
from tests.recsvc.bundles import reseal, write_world
from tests.recsvc.world_items import SAMPLE_OFFSET_M, SAMPLE_STATES_MD, SPEC


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world")
    write_world(directory, "v1", adapts_items=True)
    return directory


@pytest.fixture
def bundle_dir(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def test_a_sound_bundle_loads(bundle_dir: Path) -> None:
    """The sample users are those that were exported."""
    bundle = load_bundle(bundle_dir)
    assert bundle.sample_users is not None
    np.testing.assert_array_equal(bundle.sample_users.states_GD, SAMPLE_STATES_MD)
    np.testing.assert_array_equal(bundle.sample_users.offset_G, SAMPLE_OFFSET_M)


def no_graph(directory: Path) -> None:
    manifest = read_manifest(directory)
    graphs = {role: spec for role, spec in manifest.graphs.items() if role != "adapt_item"}
    write_manifest(directory, manifest.model_copy(update={"graphs": graphs}))


def no_samples(directory: Path) -> None:
    manifest = read_manifest(directory)
    files = {n: entry for n, entry in manifest.files.items() if n != "sample_states.npy"}
    write_manifest(directory, manifest.model_copy(update={"files": files}))


def fewer_samples(directory: Path) -> None:
    spec = SPEC.model_copy(update={"sample_users": SPEC.sample_users + 1})
    reseal(directory, item_adaptation=spec)


def endless_offset(directory: Path) -> None:
    np.save(directory / "sample_offset.npy", np.full_like(SAMPLE_OFFSET_M, np.inf))
    reseal(directory)


def other_answer(directory: Path) -> None:
    with np.load(directory / "golden.npz") as archive:
        arrays = dict(archive)
    arrays["item_adapt_bias_H"] = arrays["item_adapt_bias_H"] + 0.01
    np.savez(directory / "golden.npz", allow_pickle=False, **arrays)
    reseal(directory)


def no_golden_rows(directory: Path) -> None:
    with np.load(directory / "golden.npz") as archive:
        arrays = {n: a for n, a in archive.items() if n != "item_adapt_exposure_H"}
    np.savez(directory / "golden.npz", allow_pickle=False, **arrays)
    reseal(directory)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_graph, "adapt_item"),
        (no_samples, r"sample_states\.npy"),
        (fewer_samples, r"sample_states\.npy"),
        (endless_offset, r"sample_offset\.npy"),
        (other_answer, "item_adapt_bias_H deviates"),
        (no_golden_rows, "item_adapt_exposure_H"),
    ],
)
def test_an_unsound_bundle_is_refused(
    bundle_dir: Path, damage: Callable[[Path], None], message: str
) -> None:
    """What is missing, misshapen, not finite, or computed otherwise than recorded is named."""
    damage(bundle_dir)
    with pytest.raises(BundleRefusedError, match=message):
        load_bundle(bundle_dir)
