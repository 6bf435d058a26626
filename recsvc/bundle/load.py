"""Open a bundle for serving: every hash, shape and golden row checked before anything is served.

Nothing is unpickled. Knows nothing of the registry that the directory came from.

Shape legend: N items, M trained items (the first M of N), G sample users, D dims.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from recsvc.bundle.arrays import read_array
from recsvc.bundle.edges import EDGE_FILES, read_edges
from recsvc.bundle.golden import replay, replay_items
from recsvc.bundle.graphs import Device, Floats, Graphs, open_session
from recsvc.contract.errors import BundleRefusedError
from recsvc.contract.manifest import Manifest, read_manifest, verify_files
from recsvc.contract.pooling import Edges, Kernel
from recsvc.contract.word_files import with_words

GRAPH_ROLES = ("user_prior", "item_prior", "adapt_user")
ITEM_GRAPH_ROLE = "adapt_item"
VECTORS_FILE = "item_vectors.npy"
INNER_VECTORS_FILE = "inner_vectors.npy"
BIAS_FILE = "item_bias.npy"
IDS_FILE = "item_ids.json"
ATTRIBUTES_FILE = "item_attributes.json"
GOLDEN_FILE = "golden.npz"
SAMPLE_STATES_FILE = "sample_states.npy"
SAMPLE_OFFSET_FILE = "sample_offset.npy"
REQUIRED_FILES = (VECTORS_FILE, BIAS_FILE, IDS_FILE, ATTRIBUTES_FILE, GOLDEN_FILE)


@dataclass(frozen=True, slots=True)
class SampleUsers:
    """Training users against whom an item's first interactions are weighed."""

    states_GD: Floats
    offset_G: Floats
    """Log of the summed exponentials of all trained items' scores, for each."""


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
    inner_vectors_MD: Floats
    """Trained items as the inner loop sees them; memory-mapped."""
    bias_N: Floats
    attributes: dict[str, list[Any]]
    """Raw values of each item column, N long, None where there is none."""
    edges: Edges | None
    """Of the item-item kernel over the first M rows; None where the manifest names no kernel."""
    sample_users: SampleUsers | None
    """None where items do not adapt."""

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def catalogue_items(self) -> int:
        """M: the first M items were trained, and the inner loss runs over them."""
        return self.manifest.adaptation.catalogue_items or len(self.item_ids)

    @property
    def inner_catalogue(self) -> tuple[Floats, Floats]:
        """Vectors and biases that the inner loss runs over: the trained items'."""
        return self.inner_vectors_MD, self.bias_N[: self.catalogue_items]

    @property
    def kernel(self) -> Kernel | None:
        """The item-item kernel; None: the vector alone is served."""
        if self.manifest.kernel is None or self.edges is None:
            return None
        return Kernel(self.edges, self.manifest.kernel.pooling)


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
    manifest = with_words(directory, manifest)
    graphs = _open_graphs(directory, manifest, device)
    n_dims = manifest.adaptation.dims
    ids = _read_ids(directory / IDS_FILE)
    n_trained = manifest.adaptation.catalogue_items or len(ids)
    if n_trained > len(ids):
        raise BundleRefusedError(
            f"{directory / IDS_FILE} holds {len(ids)} items, the manifest says that {n_trained} "
            "were trained; export it again"
        )
    kernel = manifest.kernel
    vectors_ND = read_array(directory / VECTORS_FILE, (len(ids), n_dims), np.float32)
    inner_MD = vectors_ND[:n_trained]
    if manifest.adaptation.inner_vectors:
        inner_MD = read_array(directory / INNER_VECTORS_FILE, (n_trained, n_dims), np.float32)
    bundle = Bundle(
        directory=directory,
        manifest=manifest,
        graphs=graphs,
        item_ids=ids,
        vectors_ND=vectors_ND,
        inner_vectors_MD=inner_MD,
        bias_N=read_array(directory / BIAS_FILE, (len(ids),), np.float32),
        attributes=_read_attributes(directory / ATTRIBUTES_FILE, len(ids)),
        edges=read_edges(directory, n_trained, kernel.edges) if kernel else None,
        sample_users=_read_sample_users(directory, manifest),
    )
    replay(
        directory / GOLDEN_FILE,
        graphs,
        bundle.vectors_ND,
        bundle.bias_N,
        bundle.inner_vectors_MD,
        bundle.kernel,
    )
    if bundle.sample_users is not None:
        replay_items(
            directory / GOLDEN_FILE,
            graphs,
            bundle.sample_users.states_GD,
            bundle.sample_users.offset_G,
        )
    return bundle


def _require(manifest: Manifest) -> None:
    named = [spec.file for spec in manifest.graphs.values()]
    if manifest.kernel is not None:
        named += EDGE_FILES
    if manifest.adaptation.inner_vectors:
        named.append(INNER_VECTORS_FILE)
    if manifest.item_adaptation is not None:
        named += (SAMPLE_STATES_FILE, SAMPLE_OFFSET_FILE)
    absent = [name for name in (*REQUIRED_FILES, *named) if name not in manifest.files]
    absent += [role for role in _roles(manifest) if role not in manifest.graphs]
    if absent:
        raise BundleRefusedError(
            f"bundle {manifest.version}: the manifest lists no {', '.join(absent)}; export it again"
        )
    if manifest.adaptation.catalogue != "full":
        raise BundleRefusedError(
            f"bundle {manifest.version}: adaptation over a catalogue "
            f"{manifest.adaptation.catalogue!r} is not served by this version, only 'full'"
        )


def _roles(manifest: Manifest) -> tuple[str, ...]:
    adapts_items = manifest.item_adaptation is not None
    return (*GRAPH_ROLES, ITEM_GRAPH_ROLE) if adapts_items else GRAPH_ROLES


def _read_sample_users(directory: Path, manifest: Manifest) -> SampleUsers | None:
    spec = manifest.item_adaptation
    if spec is None:
        return None
    shape = (spec.sample_users, manifest.adaptation.dims)
    return SampleUsers(
        read_array(directory / SAMPLE_STATES_FILE, shape, np.float32),
        read_array(directory / SAMPLE_OFFSET_FILE, shape[:1], np.float32),
    )


def _open_graphs(directory: Path, manifest: Manifest, device: Device) -> Graphs:
    sessions = {}
    for role in _roles(manifest):
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
