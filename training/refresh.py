"""Refresh the item-item kernel of the current version from new counts, without any training.

What an item says about others changes by the day; how counts become strengths does not. The kernel
that the version was trained with turns today's counts into today's edges; vectors, steps and
pooling stay. Knows nothing of the command line.

Shape legend: N item codes of the data set, M trained rows of the bundle, E edges.
"""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.manifest import KernelSpec, Manifest, hash_file, write_manifest
from recsvc.contract.pooling import Edges, Kernel
from recsvc.contract.registry import Registry, new_version
from recsvc.contract.word_files import with_words
from training.datasets import Dataset, encode
from training.errors import TrainingError
from training.export import staged, write_edges
from training.golden import golden_lists
from training.kernel.features import content_cosine, edge_features
from training.kernel.model import ItemKernel
from training.kernel.pairs import count_pairs, recent
from training.kernel.train import KernelConfig, TrainedKernel
from training.served import edges_between
from training.tasks import Histories, from_pairs, positives

_GOLDEN = "golden.npz"


def nothing_to_refresh(registry: Registry) -> str | None:
    """Why the current version has no edges to refresh; None where it has some.

    Raises:
        TrainingError: there is no current version.
        RegistryError: the registry cannot be read.
    """
    manifest = _current(registry)
    if manifest.kernel is not None:
        return None
    decided = manifest.lineage.decisions.get("item_item_kernel")
    why = f" ({decided})" if decided else ""
    return f"version {manifest.version} serves the vector alone, it has no item-item edges{why}"


def refresh_kernel(
    dataset: Dataset, registry: Registry, now: datetime, config: KernelConfig | None = None
) -> Manifest:
    """Write a version that differs from the current one by its edges; CURRENT stays as it is.

    Items that the current version was not trained on get no edges: they wait for a retraining.

    Args:
        dataset: the interactions to count, old ones included.
        registry: holds the current version; the new one goes there.
        now: the new version's time.
        config: how many edges are counted and kept; None: as in training.

    Raises:
        TrainingError: there is no current version, it has no kernel, or the disk is full.
        RegistryError: the registry cannot be read or written.
    """
    manifest = _current(registry)
    if manifest.kernel is None:
        raise TrainingError(f"nothing to refresh: {nothing_to_refresh(registry)}")
    directory = registry.open(manifest.version)
    config = config or KernelConfig()
    edges, counted = _new_edges(dataset, directory, with_words(directory, manifest), config)
    kernel = Kernel(edges, manifest.kernel.pooling)
    return _publish(registry, directory, manifest, kernel, counted, now)


def _current(registry: Registry) -> Manifest:
    pointer = registry.current()
    if pointer is None:
        raise TrainingError(f"{registry.url} has no CURRENT version; run `recsvc-train fit` first")
    return registry.manifest(pointer.version)


def _new_edges(
    dataset: Dataset, directory: Path, manifest: Manifest, config: KernelConfig
) -> tuple[Edges, int]:
    """The edges between trained rows, and how many positives they were counted from."""
    n_trained = _trained_items(manifest, directory)
    ids = orjson.loads((directory / "item_ids.json").read_bytes())[:n_trained]
    code_of = {item_id: code for code, item_id in enumerate(dataset.item_ids)}
    code_M = np.array([code_of.get(i, -1) for i in ids], dtype=np.int64)
    histories = _in_rows(positives(dataset), code_M, dataset.n_items)
    features = encode(dataset.items, manifest.dataset.item_features, dataset.n_items)
    content = csr_matrix(features[np.maximum(code_M, 0)].multiply((code_M >= 0)[:, None]))
    rows_a_task = max(manifest.adaptation.window / 2, 1.0)
    graph = count_pairs(
        recent(histories),
        config.pairs_a_task / rows_a_task,
        np.random.default_rng([manifest.lineage.seed, 3]),
    )
    cosine_E = content_cosine(graph, content)
    kernel = _saved_kernel(directory / "kernel.npz")
    fitted = TrainedKernel.on(graph, kernel, edge_features(graph, cosine_E))
    edges = edges_between(fitted.strongest(config.served_edges), np.arange(n_trained))
    return edges, len(histories.item_E)


def _trained_items(manifest: Manifest, directory: Path) -> int:
    trained = manifest.adaptation.catalogue_items
    if trained is None:
        trained = len(np.load(directory / "edges_indptr.npy", allow_pickle=False)) - 1
    return trained


def _in_rows(histories: Histories, code_M: NDArray[np.int64], n_items: int) -> Histories:
    """Histories over rows of the bundle; items without a row are left out."""
    row_N = np.full(n_items, -1, dtype=np.int64)
    known = code_M >= 0
    row_N[code_M[known]] = np.flatnonzero(known)
    row_E = row_N[histories.item_E]
    kept = row_E >= 0
    return from_pairs(histories.user_E[kept], row_E[kept], histories.n_users, len(code_M))


def _saved_kernel(path: Path) -> ItemKernel:
    with np.load(path, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name].copy()) for name in arrays.files}
    kernel = ItemKernel(
        state["mean_F"],
        state["scale_F"],
        window=len(state["rank_W"]),
        seed=0,
        hidden=len(state["out_H"]),
    )
    kernel.load_state_dict(state)
    return kernel


def _publish(
    registry: Registry,
    directory: Path,
    parent: Manifest,
    kernel: Kernel,
    counted: int,
    now: datetime,
) -> Manifest:
    version = new_version(now)
    with staged(registry, version) as staging:
        for name in parent.files:
            shutil.copyfile(directory / name, staging / name)
        write_edges(staging, kernel.edges)
        _rewrite_golden(staging, kernel)
        decisions = parent.lineage.decisions | {
            "item_item_edges": f"counted again from {counted} positives; the rest is "
            f"{parent.version}'s"
        }
        manifest = parent.model_copy(
            update={
                "version": version,
                "created_at": now.isoformat(),
                "files": {name: hash_file(staging / name) for name in sorted(parent.files)},
                "lineage": parent.lineage.model_copy(
                    update={"parent": parent.version, "decisions": decisions}
                ),
                "kernel": KernelSpec(edges=len(kernel.edges.item_E), pooling=kernel.pooling),
            }
        )
        return write_manifest(staging, manifest)


def _rewrite_golden(staging: Path, kernel: Kernel) -> None:
    """Golden lists follow the new edges; every other golden row is the parent's."""
    with np.load(staging / _GOLDEN, allow_pickle=False) as saved:
        rows: dict[str, NDArray[Any]] = {name: saved[name] for name in saved.files}
    vectors_ND = np.load(staging / "item_vectors.npy", allow_pickle=False)
    bias_N = np.load(staging / "item_bias.npy", allow_pickle=False)
    rows["top_items_G10"] = golden_lists(
        rows["state_GP"], rows["support_items_GS"], vectors_ND, bias_N, kernel
    )
    with (staging / _GOLDEN).open("wb") as stream:
        np.savez(stream, allow_pickle=False, **rows)
