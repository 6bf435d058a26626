"""Pre-trained word vectors, fitted to the texts of a data set.

The table is the one that ships inside the `wordllama` package (MIT licence): static vectors of
word pieces, distilled from language models. It is read as a file: nothing of the package runs and
nothing is downloaded. What a data set keeps of it are the directions in which its own texts differ.

Knows nothing of files of a data set or of a bundle.

Shape legend: P pieces, K dims of a word vector, T texts, D dims of the pre-trained table.
"""

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from recsvc.contract.schema import Column, FeatureSchema
from recsvc.contract.words import START, WordVectors
from training.errors import DataError

PACKAGE = "wordllama"
DIMS = 32
"""K: more said no more on any data set that was tried."""

_TABLE = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_BEGINS = "\u2581"
_LETTERS = re.compile(r"[^\W_]+")
_MOST_TEXTS = 5000
"""Texts of each column that the directions come from."""
_LEAST_SPREAD = 1e-3
"""A direction with less of the first one's spread is noise."""


def fit_words(columns: Sequence[Column], texts: Mapping[str, Sequence[Any]]) -> FeatureSchema:
    """Give text columns word vectors: the directions in which their texts differ most.

    Args:
        columns: of the schema.
        texts: raw values of the columns that want word vectors, by name; their statistics alone
            shape the table.

    Returns:
        The schema with its table. Of columns without positions nothing is left.

    Raises:
        DataError: the table is not installed.
    """
    if not texts:
        return FeatureSchema(columns=tuple(columns))
    wide = pretrained()
    means = {c.name: _known_means(c, texts[c.name], wide) for c in columns if c.name in texts}
    basis_DK = _directions(list(means.values()))
    table_PK = (wide.vectors_PK @ basis_DK).astype(np.float16)
    centred = [
        c.model_copy(update={"centre": _centre(means[c.name] @ basis_DK)}) if c.name in means else c
        for c in columns
    ]
    kept = tuple(c for c in centred if c.width)
    words = WordVectors(wide.pieces, table_PK) if any(c.centre for c in kept) else None
    return FeatureSchema(columns=kept, words=words)


@lru_cache(maxsize=1)
def pretrained() -> WordVectors:
    """The table as it ships, its pieces in lower case and its vectors of unit length, float32.

    Of pieces that differ in case alone, the lower-case one stands for them all, else the
    capitalised one. Single Latin letters are left out: they say nothing.

    Raises:
        DataError: the package is not installed, or holds no such table.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    try:
        root = Path(places[0])
        vocabulary = json.loads((root / _TOKENIZER).read_bytes())["model"]["vocab"]
        vectors_PD = load_file(root / _TABLE)["embedding.weight"].astype(np.float32)
    except (IndexError, KeyError, OSError, ValueError) as exc:
        raise DataError(
            f"the word vectors of the package {PACKAGE!r} cannot be read ({exc}); install "
            'recsvc[training], or set encoder = "tokens" for every text column in dataset.toml'
        ) from exc
    rows = _lower_case(vocabulary)
    chosen_PD = vectors_PD[list(rows.values())]
    length_P1 = np.linalg.norm(chosen_PD, axis=1, keepdims=True)
    return WordVectors(tuple(rows), chosen_PD / np.maximum(length_P1, 1e-9))


def _lower_case(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Piece to row of the table; see `pretrained`."""
    best: dict[str, tuple[bool, bool, int]] = {}
    for token, row in vocabulary.items():
        written = token.removeprefix(_BEGINS)
        piece = written.lower()
        if not _LETTERS.fullmatch(piece) or (len(piece) == 1 and "a" <= piece <= "z"):
            continue
        key = START + piece if token.startswith(_BEGINS) else piece
        candidate = (written != piece, written != piece.capitalize(), row)
        best[key] = min(best.get(key, candidate), candidate)
    return {key: row for key, (_, _, row) in best.items()}


def _known_means(column: Column, values: Sequence[Any], wide: WordVectors) -> NDArray[np.float32]:
    """Mean vectors of evenly chosen texts that have one, (T, D)."""
    step = max(1, -(-len(values) // _MOST_TEXTS))
    means_TD = column.mean_vectors(values[::step], wide)
    return means_TD[means_TD.any(axis=1)]


def _directions(means: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Principal directions of the texts around their columns' centres, each of length 1, (D, K)."""
    around_TD = np.concatenate([m - m.mean(axis=0) for m in means if len(m)] or means[:1])
    if not len(around_TD):
        return np.zeros((around_TD.shape[1], 0), dtype=np.float32)
    _, spread_R, rows_RD = np.linalg.svd(around_TD, full_matrices=False)
    kept = spread_R[:DIMS] > max(_LEAST_SPREAD * spread_R[0], 1e-6)
    basis_DK: NDArray[np.float32] = rows_RD[:DIMS][kept].T
    return basis_DK


def _centre(means_TK: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(float(v) for v in means_TK.mean(axis=0)) if len(means_TK) else ()
