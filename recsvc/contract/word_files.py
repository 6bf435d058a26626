"""Word vectors in a bundle: two files a side, sealed by the manifest like every other.

Knows nothing of how a text is encoded.

Shape legend: P pieces, K dims of a word vector.
"""

import json
from pathlib import Path
from typing import Literal

import numpy as np

from recsvc.contract.errors import BundleRefusedError
from recsvc.contract.manifest import DatasetSpec, Manifest
from recsvc.contract.schema import FeatureSchema
from recsvc.contract.words import WordVectors

Side = Literal["user", "item"]


def write_words(directory: Path, dataset: DatasetSpec) -> None:
    """Write `<side>_words.json` (pieces) and `<side>_words.npy` (float16) where a side has words.

    Raises:
        OSError: a file cannot be written.
    """
    sides: dict[Side, FeatureSchema] = {
        "user": dataset.user_features,
        "item": dataset.item_features,
    }
    for side, schema in sides.items():
        if schema.words is None:
            continue
        pieces = json.dumps(schema.words.pieces, ensure_ascii=False)
        (directory / _pieces_file(side)).write_text(pieces, encoding="utf-8")
        vectors_PK = schema.words.vectors_PK.astype(np.float16)
        np.save(directory / _vectors_file(side), vectors_PK, allow_pickle=False)


def with_words(directory: Path, manifest: Manifest) -> Manifest:
    """The manifest, its feature schemas holding the word vectors that they were fitted with.

    The vectors stay memory-mapped.

    Raises:
        BundleRefusedError: a schema needs word vectors, and the bundle's do not fit it.
    """
    spec = manifest.dataset
    user = _opened(directory, manifest, "user", spec.user_features)
    item = _opened(directory, manifest, "item", spec.item_features)
    opened = spec.model_copy(update={"user_features": user, "item_features": item})
    return manifest.model_copy(update={"dataset": opened})


def _opened(
    directory: Path, manifest: Manifest, side: Side, schema: FeatureSchema
) -> FeatureSchema:
    widths = {len(c.centre) for c in schema.columns if c.centre}
    if not widths:
        return schema
    files = (_pieces_file(side), _vectors_file(side))
    absent = [name for name in files if name not in manifest.files]
    if absent:
        raise BundleRefusedError(
            f"bundle {manifest.version}: the manifest lists no {', '.join(absent)}; export it again"
        )
    words = _read(directory / files[0], directory / files[1])
    if widths != {words.dims}:
        raise BundleRefusedError(
            f"{directory / files[1]} holds {words.dims} numbers a piece, the {side} features "
            f"need {' and '.join(map(str, sorted(widths)))}; export it again"
        )
    return schema.model_copy(update={"words": words})


def _read(pieces_path: Path, vectors_path: Path) -> WordVectors:
    try:
        pieces = json.loads(pieces_path.read_bytes())
        vectors_PK = np.load(vectors_path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise BundleRefusedError(f"{vectors_path} is no table of word vectors: {exc}") from exc
    sound = (
        isinstance(pieces, list)
        and all(isinstance(piece, str) for piece in pieces)
        and vectors_PK.dtype == np.float16
        and vectors_PK.ndim == 2
        and len(vectors_PK) == len(set(pieces)) == len(pieces)
        and np.isfinite(vectors_PK).all()
    )
    if not sound:
        raise BundleRefusedError(
            f"{vectors_path} holds {vectors_PK.dtype} of shape {vectors_PK.shape}; it must be one "
            f"finite float16 row for each piece of {pieces_path.name}; export it again"
        )
    return WordVectors(tuple(pieces), np.asarray(vectors_PK))


def _pieces_file(side: Side) -> str:
    return f"{side}_words.json"


def _vectors_file(side: Side) -> str:
    return f"{side}_words.npy"
