"""Loading a bundle with an item-item kernel: sound edges are served, and nothing else is."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsvc.bundle import load_bundle
from recsvc.contract.errors import BundleCorruptError, BundleRefusedError
from recsvc.contract.manifest import KernelSpec, read_manifest, write_manifest
from tests.recsvc.bundles import COLOUR_KERNEL, reseal, write_world
from tests.recsvc.kernels import WorldKernel, random_kernel

EDGE_FILES = ("edges_indptr.npy", "edges_item.npy", "edges_strength.npy", "kernel.npz")
EDGES = COLOUR_KERNEL.edges


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world")
    write_world(directory, "v1", kernel=COLOUR_KERNEL)
    return directory


@pytest.fixture
def bundle_dir(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def test_sound_edges_load(bundle_dir: Path) -> None:
    """Edges and weights are those that were exported, mapped and read-only."""
    bundle = load_bundle(bundle_dir)
    assert bundle.kernel is not None
    for field in EDGES._fields:
        actual = getattr(bundle.kernel.edges, field)
        np.testing.assert_array_equal(getattr(EDGES, field), actual)
        assert isinstance(actual.base, np.memmap)
        assert not actual.flags.writeable
    assert bundle.kernel.pooling == COLOUR_KERNEL.pooling


def test_a_kernel_without_edges_loads(tmp_path: Path) -> None:
    """A kernel may have nothing to say."""
    silent = WorldKernel(np.zeros((60, 60), dtype=np.float32), COLOUR_KERNEL.pooling)
    write_world(tmp_path, "v1", kernel=silent)
    kernel = load_bundle(tmp_path).kernel
    assert kernel is not None
    assert len(kernel.edges.item_E) == 0


@pytest.mark.parametrize("name", EDGE_FILES)
def test_a_flipped_bit_in_any_kernel_file_is_named(bundle_dir: Path, name: str) -> None:
    """One flipped bit, wherever it is, is found and the file is named."""
    path = bundle_dir / name
    good = path.read_bytes()
    for position in {0, 1, len(good) // 2, len(good) - 1}:
        bad = bytearray(good)
        bad[position] ^= 0x10
        path.write_bytes(bad)
        with pytest.raises(BundleCorruptError, match=name.replace(".", r"\.")):
            load_bundle(bundle_dir)


@pytest.mark.parametrize("name", EDGE_FILES)
def test_a_kernel_file_must_be_listed(bundle_dir: Path, name: str) -> None:
    """What a kernel needs must be among the hashed files."""
    manifest = read_manifest(bundle_dir)
    files = {n: f for n, f in manifest.files.items() if n != name}
    write_manifest(bundle_dir, manifest.model_copy(update={"files": files}))
    with pytest.raises(BundleRefusedError, match=name.replace(".", r"\.")):
        load_bundle(bundle_dir)


def changed(array: Any, position: int, value: float) -> Any:
    copy = array.copy()
    copy[position] = value
    return copy


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("edges_indptr.npy", EDGES.indptr_M1[:-1], "shape"),
        ("edges_indptr.npy", EDGES.indptr_M1.astype(np.int32), "int32"),
        ("edges_indptr.npy", changed(EDGES.indptr_M1, 0, 1), "runs from 1 to"),
        ("edges_indptr.npy", changed(EDGES.indptr_M1, -1, 7), "to 7; it must rise"),
        ("edges_indptr.npy", changed(EDGES.indptr_M1, 5, 0), "without a step back"),
        ("edges_item.npy", EDGES.item_E[:-1], "shape"),
        ("edges_item.npy", EDGES.item_E.astype(np.int64), "int64"),
        ("edges_item.npy", changed(EDGES.item_E, 3, -1), "rows -1 to"),
        ("edges_item.npy", changed(EDGES.item_E, -1, 60), "to 60;.* rows 0 to 59"),
        ("edges_item.npy", changed(EDGES.item_E, 3, EDGES.item_E[2]), "ascending"),
        ("edges_strength.npy", EDGES.strength_E.astype(np.float64), "float64"),
        ("edges_strength.npy", changed(EDGES.strength_E, 9, np.nan), "NaN"),
        ("edges_strength.npy", changed(EDGES.strength_E, 9, np.inf), "infinity"),
        ("edges_strength.npy", changed(EDGES.strength_E, -1, -0.5), "negative"),
        ("edges_strength.npy", np.asarray([{"a": 1}], dtype=object), "no plain numpy array"),
    ],
)
def test_wrong_edges_are_refused(bundle_dir: Path, name: str, array: Any, message: str) -> None:
    """Edges that lead nowhere, come twice or are no numbers are refused, and the file is named."""
    np.save(bundle_dir / name, array, allow_pickle=True)
    reseal(bundle_dir)
    with pytest.raises(BundleRefusedError, match=f"(?s){name}.*{message}"):
        load_bundle(bundle_dir)


def test_other_edges_than_the_manifest_says_are_refused(bundle_dir: Path) -> None:
    """The manifest's count of edges must be the files'."""
    reseal(bundle_dir, kernel=KernelSpec(edges=7, pooling=COLOUR_KERNEL.pooling))
    with pytest.raises(BundleRefusedError, match=r"edges_item\.npy holds"):
        load_bundle(bundle_dir)


def test_golden_lists_are_those_of_the_pooled_score(tmp_path: Path) -> None:
    """A kernel or a pooling other than the recorded lists rest on keeps a bundle from serving."""
    kernel = random_kernel(60, seed=4)
    write_world(tmp_path, "v1", kernel=kernel)
    assert load_bundle(tmp_path).kernel is not None
    other = random_kernel(60, seed=5).pooling
    reseal(tmp_path, kernel=KernelSpec(edges=len(kernel.edges.item_E), pooling=other))
    with pytest.raises(BundleRefusedError, match="top_items_G10 deviates"):
        load_bundle(tmp_path)
    reseal(tmp_path, kernel=None)
    with pytest.raises(BundleRefusedError, match="top_items_G10 deviates"):
        load_bundle(tmp_path)
