"""Loading: what is sound is served, and nothing else is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import pytest

from recsvc.bundle import load_bundle
from recsvc.contract.errors import BundleCorruptError, BundleRefusedError
from recsvc.contract.manifest import read_manifest, write_manifest
from tests.recsvc.bundles import BLACK, DIMS, ITEM_IDS, reseal, write_world

FILES = (
    "adapt_user.onnx",
    "golden.npz",
    "item_attributes.json",
    "item_bias.npy",
    "item_ids.json",
    "item_prior.onnx",
    "item_vectors.npy",
    "manifest.json",
    "metrics.json",
    "user_prior.onnx",
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world")
    write_world(directory, "v1")
    return directory


@pytest.fixture
def bundle_dir(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def test_a_sound_bundle_loads(bundle_dir: Path) -> None:
    """Ids, vectors, biases and attributes are those that were exported."""
    bundle = load_bundle(bundle_dir)
    assert bundle.item_ids == ITEM_IDS
    assert (len(ITEM_IDS), DIMS) == bundle.vectors_ND.shape
    assert bundle.attributes["colour"][0] == "black"
    assert (bundle.edges, bundle.kernel) == (None, None)
    assert set(FILES) == {p.name for p in bundle_dir.iterdir()}


def test_the_inner_loop_may_see_items_by_vectors_of_their_own(tmp_path: Path) -> None:
    """They are those of the file, mapped; without one they are the scored vectors."""
    write_world(tmp_path, "v1", swapped=True)
    bundle = load_bundle(tmp_path)
    vectors_MD, bias_M = bundle.inner_catalogue
    np.testing.assert_array_equal(vectors_MD, bundle.vectors_ND[:, ::-1])
    np.testing.assert_array_equal(bias_M, bundle.bias_N)
    assert isinstance(vectors_MD.base, np.memmap)


def test_without_inner_vectors_the_scored_ones_serve(bundle_dir: Path) -> None:
    """A bundle that names no such file adapts by the item vectors."""
    vectors_MD, _ = load_bundle(bundle_dir).inner_catalogue
    np.testing.assert_array_equal(vectors_MD, load_bundle(bundle_dir).vectors_ND)


def test_a_manifest_that_promises_inner_vectors_needs_the_file(bundle_dir: Path) -> None:
    """What is promised and not there is refused by name."""
    adaptation = read_manifest(bundle_dir).adaptation
    reseal(bundle_dir, adaptation=adaptation.model_copy(update={"inner_vectors": True}))
    with pytest.raises(BundleRefusedError, match=r"inner_vectors\.npy"):
        load_bundle(bundle_dir)


def test_inner_vectors_of_another_shape_are_refused(tmp_path: Path) -> None:
    """One row short, and the message names the file."""
    write_world(tmp_path, "v1", swapped=True)
    np.save(tmp_path / "inner_vectors.npy", np.zeros((len(ITEM_IDS) - 1, DIMS), np.float32))
    reseal(tmp_path)
    with pytest.raises(BundleRefusedError, match=r"inner_vectors\.npy"):
        load_bundle(tmp_path)


def test_vectors_are_mapped_and_read_only(bundle_dir: Path) -> None:
    """Workers share the pages of the vectors, and none can write to them."""
    bundle = load_bundle(bundle_dir)
    assert isinstance(bundle.vectors_ND.base, np.memmap)
    assert not bundle.vectors_ND.flags.writeable


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_any_file_is_named(bundle_dir: Path, name: str) -> None:
    """One flipped bit, wherever it is, is found and the file is named."""
    path = bundle_dir / name
    good = path.read_bytes()
    positions = {0, 1, len(good) // 2, len(good) - 1}
    for position in positions:
        bad = bytearray(good)
        bad[position] ^= 0x10
        path.write_bytes(bad)
        with pytest.raises(BundleCorruptError, match=name.replace(".", r"\.")):
            load_bundle(bundle_dir)


@pytest.mark.parametrize("name", [f for f in FILES if f != "metrics.json"])
def test_a_truncated_file_is_named(bundle_dir: Path, name: str) -> None:
    """Half a file is found and named."""
    path = bundle_dir / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BundleCorruptError, match=name.replace(".", r"\.")):
        load_bundle(bundle_dir)


def external_data(path: Path) -> None:
    model = onnx.load(path)
    onnx.save_model(
        model, path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )


def custom_operator(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node[0].domain = "com.microsoft"
    model.graph.node[0].op_type = "FusedMatMul"
    path.write_bytes(model.SerializeToString())


def no_onnx(path: Path) -> None:
    path.write_bytes(b"\xff" * 100)


def other_input(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].name = "something"
    model.graph.node[0].input[0] = "something"
    path.write_bytes(model.SerializeToString())


def unknown_operator(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (external_data, "other files"),
        (custom_operator, r"com\.microsoft"),
        (no_onnx, "no ONNX model"),
        (other_input, "inputs are"),
        (unknown_operator, "does not load"),
    ],
)
def test_an_unsafe_graph_is_refused(
    bundle_dir: Path, damage: Callable[[Path], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that needs more than its own bytes is refused, even where the hashes match."""
    monkeypatch.chdir(bundle_dir)  # where ONNX Runtime would look for external data
    damage(bundle_dir / "user_prior.onnx")
    reseal(bundle_dir)
    with pytest.raises(BundleRefusedError, match=message):
        load_bundle(bundle_dir)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, DIMS), dtype=np.float32), "shape"),
        (np.zeros((len(ITEM_IDS), DIMS), dtype=np.float64), "float64"),
        (np.full((len(ITEM_IDS), DIMS), np.nan, dtype=np.float32), "NaN"),
        (np.asfortranarray(np.ones((len(ITEM_IDS), DIMS), dtype=np.float32)), "C order"),
        (np.asarray([{"a": 1}], dtype=object), "no plain numpy array"),
    ],
)
def test_wrong_vectors_are_refused(bundle_dir: Path, array: Any, message: str) -> None:
    """Vectors of another shape, type or order, not finite, or pickled, are not served."""
    np.save(bundle_dir / "item_vectors.npy", array, allow_pickle=True)
    reseal(bundle_dir)
    with pytest.raises(BundleRefusedError, match=message):
        load_bundle(bundle_dir)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("item_ids.json", ["a", "a"], "repeats an id"),
        ("item_ids.json", [1, 2], "list of strings"),
        ("item_ids.json", [], "empty"),
        ("item_attributes.json", {"columns": {"colour": ["black"]}}, "values"),
        ("item_attributes.json", [], "values"),
    ],
)
def test_wrong_lists_are_refused(bundle_dir: Path, name: str, content: Any, message: str) -> None:
    """Ids and attributes must fit each other."""
    (bundle_dir / name).write_bytes(orjson.dumps(content))
    reseal(bundle_dir)
    with pytest.raises(BundleRefusedError, match=message):
        load_bundle(bundle_dir)


@pytest.mark.parametrize(
    "name", ["prior_GD", "state_GP", "item_prior_vectors_HD", "item_prior_bias_H"]
)
def test_another_answer_than_recorded_is_refused(bundle_dir: Path, name: str) -> None:
    """A golden row that comes out otherwise keeps the bundle from being served."""
    with np.load(bundle_dir / "golden.npz") as archive:
        golden = dict(archive)
    golden[name] = golden[name] + np.float32(0.01)
    np.savez(bundle_dir / "golden.npz", allow_pickle=False, **golden)
    reseal(bundle_dir)
    with pytest.raises(BundleRefusedError, match=f"{name} deviates"):
        load_bundle(bundle_dir)


def test_another_list_than_recorded_is_refused(bundle_dir: Path) -> None:
    """The recorded top ten must still be the top ten."""
    with np.load(bundle_dir / "golden.npz") as archive:
        golden = dict(archive)
    golden["top_items_G10"] = golden["top_items_G10"][:, ::-1]
    np.savez(bundle_dir / "golden.npz", allow_pickle=False, **golden)
    reseal(bundle_dir)
    with pytest.raises(BundleRefusedError, match="top_items_G10 deviates"):
        load_bundle(bundle_dir)


def test_a_manifest_without_a_needed_file_is_refused(bundle_dir: Path) -> None:
    """What the service needs must be among the hashed files."""
    manifest = read_manifest(bundle_dir)
    files = {n: f for n, f in manifest.files.items() if n != "item_bias.npy"}
    write_manifest(bundle_dir, manifest.model_copy(update={"files": files}))
    with pytest.raises(BundleRefusedError, match=r"item_bias\.npy"):
        load_bundle(bundle_dir)


def test_more_trained_items_than_items_are_refused(bundle_dir: Path) -> None:
    """The catalogue of the inner loss cannot be larger than the list of items."""
    adaptation = read_manifest(bundle_dir).adaptation
    reseal(bundle_dir, adaptation=adaptation.model_copy(update={"catalogue_items": 65}))
    with pytest.raises(BundleRefusedError, match=r"item_ids\.json holds 64 items"):
        load_bundle(bundle_dir)


def test_cuda_is_refused_where_the_runtime_falls_back(bundle_dir: Path) -> None:
    """Asked for a GPU that is not there, the service says so instead of running on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        (bundle_dir / "user_prior.onnx").read_bytes(),
        providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    if "CUDAExecutionProvider" in session.get_providers():
        assert load_bundle(bundle_dir, "cuda").version == "v1"
        return
    with pytest.raises(BundleRefusedError, match="offers only"):
        load_bundle(bundle_dir, "cuda")


def test_graphs_answer_as_the_world_says(bundle_dir: Path) -> None:
    """One black item moves a new user one unit along black."""
    bundle = load_bundle(bundle_dir)
    row = ITEM_IDS.index(BLACK[3])
    state_BP = bundle.graphs.adapt_user(
        np.zeros((1, DIMS), dtype=np.float32),
        bundle.vectors_ND[[[row]]],
        bundle.bias_N[[[row]]],
        np.ones((1, 1), dtype=np.float32),
        np.ones((1, 1), dtype=np.float32),
        1,
        bundle.vectors_ND,
        bundle.bias_N,
    )
    assert state_BP.tolist() == [[1.0, 0.0]]
