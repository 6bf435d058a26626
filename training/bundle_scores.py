"""Scores of an exported bundle over the items of a data set, through ONNX Runtime.

Knows nothing of how the bundle was trained; it sees what the service sees. For the gate, which
compares versions, and for tests of what was exported.

Shape legend: B users, S support rows, N item codes of the data set, M rows of the bundle,
T trained rows, D dims.
"""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import orjson
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.manifest import Manifest, read_manifest, verify_files
from recsvc.contract.pooling import Edges, Kernel, add_kernel
from recsvc.contract.word_files import with_words


class BundleScorer:
    """A verified bundle, scoring in a data set's item codes.

    Args:
        directory: the version.
        item_ids: N ids of the data set.

    Raises:
        ContractError: the bundle is damaged or is none.
    """

    def __init__(self, directory: Path, item_ids: list[str]) -> None:
        manifest = read_manifest(directory)
        verify_files(directory, manifest)
        self.manifest = with_words(directory, manifest)
        self._sessions = {
            role: ort.InferenceSession(
                (directory / spec.file).read_bytes(), providers=["CPUExecutionProvider"]
            )
            for role, spec in self.manifest.graphs.items()
        }
        self._vectors_MD = np.load(directory / "item_vectors.npy", allow_pickle=False)
        self._inner_TD = self._vectors_MD[: self.manifest.adaptation.catalogue_items]
        if self.manifest.adaptation.inner_vectors:
            self._inner_TD = np.load(directory / "inner_vectors.npy", allow_pickle=False)
        self._bias_M = np.load(directory / "item_bias.npy", allow_pickle=False)
        self._kernel = _read_kernel(directory, self.manifest)
        row_of = {
            i: row for row, i in enumerate(orjson.loads((directory / "item_ids.json").read_bytes()))
        }
        self._rows_N = np.array([row_of.get(i, -1) for i in item_ids], dtype=np.int64)

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        """As `training.methods.Method.score`; items that the bundle lacks get the lowest score.

        Args:
            support_BS: item codes, oldest first, -1 as padding.
            features: (B, F) users encoded by the bundle's own schema.
            n: support size; the support says it.
        """
        del n
        spec = self.manifest.adaptation
        (prior_BD,) = self._sessions["user_prior"].run(
            ["prior_BD"], {"features_BF": features.toarray().astype(np.float32)}
        )
        rows_BS = np.where(support_BS >= 0, self._rows_N[support_BS], -1)
        weight_BS = (rows_BS >= 0).astype(np.float32)
        inner_BSD = self._vectors_MD[np.maximum(rows_BS, 0)]
        trained_BS = (rows_BS >= 0) & (rows_BS < len(self._inner_TD))
        inner_BSD[trained_BS] = self._inner_TD[rows_BS[trained_BS]]
        feeds = {
            "prior_BD": prior_BD,
            "support_vectors_BSD": inner_BSD * weight_BS[..., None],
            "support_bias_BS": self._bias_M[np.maximum(rows_BS, 0)] * weight_BS,
            "support_label_BS": np.ones_like(weight_BS),
            "support_weight_BS": weight_BS,
            "steps": np.asarray(spec.steps, dtype=np.int64),
            "catalogue_vectors_MD": self._inner_TD,
            "catalogue_bias_M": self._bias_M[: len(self._inner_TD)],
        }
        (state_BP,) = self._sessions["adapt_user"].run(["state_BP"], feeds)
        scores_BM = state_BP[:, : spec.dims] @ self._vectors_MD.T + self._bias_M
        if self._kernel is not None:
            for scores_M, rows_S, weight_S in zip(scores_BM, rows_BS, weight_BS, strict=True):
                add_kernel(scores_M, self._kernel, rows_S, weight_S)
        known_N = self._rows_N >= 0
        out_BN = np.full((len(rows_BS), len(known_N)), scores_BM.min(), dtype=np.float32)
        out_BN[:, known_N] = scores_BM[:, self._rows_N[known_N]]
        return out_BN


def _read_kernel(directory: Path, manifest: Manifest) -> Kernel | None:
    if manifest.kernel is None:
        return None
    names = ("edges_indptr.npy", "edges_item.npy", "edges_strength.npy")
    arrays = [np.load(directory / name, allow_pickle=False) for name in names]
    return Kernel(Edges(*arrays), manifest.kernel.pooling)
