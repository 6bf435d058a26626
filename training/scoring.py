"""Scores of a meta-trained model over all items of a data set.

Knows nothing of how the model was trained or how lists are measured.

Shape legend: B users, S support rows, N item codes of the data set, M rows of the model, D dims.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.algorithms.maml import adapted_states
from training.model import ColdStartModel


class Scorer:
    """Scores of a model over all item codes of a data set, for `training.methods.measure`."""

    def __init__(
        self,
        model: ColdStartModel,
        rows_N: NDArray[np.int64],
        item_features_MF: torch.Tensor,
        device: torch.device,
    ) -> None:
        self._model = model
        self._rows_N = rows_N
        self._device = device
        with torch.no_grad():
            self._vectors_MD = model.item_vectors(item_features_MF)
            self._inner_MD = model.inner_vectors(self._vectors_MD)

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        """As `training.methods.Method.score`; items without a row get the lowest score."""
        del n  # the support says it
        rows_BS = np.where(support_BS >= 0, self._rows_N[support_BS], -1)
        if rows_BS.shape[1] == 0:
            rows_BS = np.full((len(rows_BS), 1), -1)
        with torch.no_grad():
            state_BD = adapted_states(
                self._model,
                torch.as_tensor(features.toarray(), dtype=torch.float32, device=self._device),
                torch.as_tensor(rows_BS, device=self._device),
                self._inner_MD,
            )
            scores_BM = (state_BD @ self._vectors_MD.T + self._model.bias_N).cpu().numpy()
        out_BN = np.full((len(rows_BS), len(self._rows_N)), scores_BM.min(), dtype=np.float32)
        out_BN[:, self._rows_N >= 0] = scores_BM
        return out_BN
