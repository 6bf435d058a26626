"""Open a bundle for serving: every hash, shape and golden row checked before anything is served.

Nothing is unpickled. Knows nothing of the registry that the directory came from.

Shape legend: N trained items, D dims.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from recsvc.bundle.golden import replay
from recsvc.bundle.graphs import Device, Floats, Graphs, open_session
from recsvc.contract.errors import BundleRefusedError
from recsvc.contract.manifest import Manifest, read_manifest, verify_files

GRAPH_ROLES = ("user_prior", "item_prior", "adapt_user")
VECTORS_FILE = "item_vectors.npy"
BIAS_FILE = "item_bias.npy"
IDS_FILE = "item_ids.json"
ATTRIBUTES_FILE = "item_attributes.json"
GOLDEN_FILE = "golden.npz"
REQUIRED_FILES = (VECTORS_FILE, BIAS_FILE, IDS_FILE, ATTRIBUTES_FILE, GOLDEN_FILE)

_BLOCK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that passed every check."""

    directory: Path
    manifest: Manifest
    graphs: Graphs
    item_ids: list[str]
    """N ids; position = row."""
    vectors_ND: Floats
    """Memory-mapped, read-only: workers on one machine share its pages."""
    bias_N: Floats
    attributes: dict[str, list[Any]]
    """Raw values of each item column, N long, None where there is none."""

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def catalogue_items(self) -> int:
        """M: the first M items were trained, and the inner loss runs over them."""
        return self.manifest.adaptation.catalogue_items or len(self.item_ids)


def load_bundle(directory: Path, device: Device = "cpu") -> Bundle:
    """Verify, open, replay and thereby warm a bundle.

    Args:
        directory: local directory of one version.
        device: where the graphs run.

    Raises:
        ManifestError: no manifest, or one of an unknown format.
        BundleCorruptError: a file differs from what was exported; the message names it.
        BundleRefusedError: the files are as exported, but cannot be served soundly.
    """
    manifest = read_manifest(directory)
    verify_files(directory, manifest)
    _require(manifest)
    graphs = _open_graphs(directory, manifest, device)
    n_dims = manifest.adaptation.dims
    ids = _read_ids(directory / IDS_FILE)
    vectors_ND = _read_array(directory / VECTORS_FILE, (len(ids), n_dims))
    bias_N = _read_array(directory / BIAS_FILE, (len(ids),))
    attributes = _read_attributes(directory / ATTRIBUTES_FILE, len(ids))
    bundle = Bundle(directory, manifest, graphs, ids, vectors_ND, bias_N, attributes)
    replay(directory / GOLDEN_FILE, graphs, vectors_ND, bias_N, bundle.catalogue_items)
    return bundle


def _require(manifest: Manifest) -> None:
    named = [spec.file for spec in manifest.graphs.values()]
    absent = [name for name in (*REQUIRED_FILES, *named) if name not in manifest.files]
    absent += [role for role in GRAPH_ROLES if role not in manifest.graphs]
    if absent:
        raise BundleRefusedError(
            f"bundle {manifest.version}: the manifest lists no {', '.join(absent)}; export it again"
        )
    if manifest.adaptation.catalogue != "full":
        raise BundleRefusedError(
            f"bundle {manifest.version}: adaptation over a catalogue "
            f"{manifest.adaptation.catalogue!r} is not served by this version, only 'full'"
        )


def _open_graphs(directory: Path, manifest: Manifest, device: Device) -> Graphs:
    sessions = {}
    for role in GRAPH_ROLES:
        spec = manifest.graphs[role]
        source = f"bundle {manifest.version}: {spec.file}"
        sessions[role] = open_session((directory / spec.file).read_bytes(), source, spec, device)
    return Graphs(sessions, manifest.graphs)


def _read_ids(path: Path) -> list[str]:
    ids = _read_json(path)
    if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
        raise BundleRefusedError(f"{path} is not a list of strings; export it again")
    if len(set(ids)) != len(ids) or not ids:
        raise BundleRefusedError(f"{path} is empty or repeats an id; export it again")
    return ids


def _read_attributes(path: Path, n_items: int) -> dict[str, list[Any]]:
    content = _read_json(path)
    columns = content.get("columns") if isinstance(content, dict) else None
    if not isinstance(columns, dict) or any(
        not isinstance(values, list) or len(values) != n_items for values in columns.values()
    ):
        raise BundleRefusedError(
            f'{path} is not {{"columns": {{name: [{n_items} values]}}}}; export it again'
        )
    return columns


def _read_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as exc:
        raise BundleRefusedError(f"{path} is not JSON: {exc}; export it again") from exc


def _read_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as exc:
        raise BundleRefusedError(f"{path} is no plain numpy array: {exc}") from exc
    if mapped.shape != shape or mapped.dtype != np.float32 or not mapped.flags.c_contiguous:
        raise BundleRefusedError(
            f"{path} holds {mapped.dtype} of shape {mapped.shape}, the bundle says float32 of "
            f"{shape} in C order; export it again"
        )
    array: NDArray[np.float32] = np.asarray(mapped)
    for start in range(0, len(array), _BLOCK_ROWS):
        if not np.isfinite(array[start : start + _BLOCK_ROWS]).all():
            raise BundleRefusedError(f"{path} holds a NaN or an infinity; train it again")
    return array
