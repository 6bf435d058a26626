"""Replay a bundle's golden rows: inputs whose answers were recorded when it was exported.

A runtime or a machine that computes something else must not serve. Knows nothing of files but
golden.npz.

Shape legend: G users, H items, S support rows, N items, M trained items (of adapt_item: sample
users), D dims, P state width.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsvc.bundle.graphs import Floats, Graphs
from recsvc.contract.errors import BundleRefusedError
from recsvc.contract.pooling import Kernel, add_kernel

TOLERANCE = 1e-4
"""Largest deviation, relative to the largest expected magnitude."""

_ITEM_ARRAYS = tuple(
    f"item_adapt_{name}"
    for name in (
        "prior_vectors_HD",
        "prior_bias_H",
        "states_HSD",
        "offset_HS",
        "weight_HS",
        "exposure_H",
        "vectors_HD",
        "bias_H",
    )
)
_ARRAYS = (
    "user_features_GF",
    "prior_GD",
    "support_items_GS",
    "support_label_GS",
    "support_weight_GS",
    "steps",
    "state_GP",
    "top_items_G10",
    "item_features_HF",
    "item_prior_vectors_HD",
    "item_prior_bias_H",
)


def replay(
    path: Path,
    graphs: Graphs,
    vectors_ND: Floats,
    bias_N: Floats,
    inner_vectors_MD: Floats,
    kernel: Kernel | None,
) -> None:
    """Run every graph on its golden inputs and compare; the graphs are warm afterwards.

    Args:
        path: golden.npz.
        graphs: the bundle's.
        vectors_ND: item vectors.
        bias_N: item biases.
        inner_vectors_MD: trained items as the inner loop sees them.
        kernel: joins the scores behind the recorded lists; None: there is none.

    Raises:
        BundleRefusedError: an array is missing or an answer deviates; the message names it.
    """
    golden = _read(path, _ARRAYS)
    prior_GD = graphs.user_prior(golden["user_features_GF"])
    _compare(path, "prior_GD", prior_GD, golden["prior_GD"])
    vectors_HD, bias_H = graphs.item_prior(golden["item_features_HF"])
    _compare(path, "item_prior_vectors_HD", vectors_HD, golden["item_prior_vectors_HD"])
    _compare(path, "item_prior_bias_H", bias_H, golden["item_prior_bias_H"])
    items_GS = golden["support_items_GS"]
    if items_GS.size and not -1 <= items_GS.min() <= items_GS.max() < len(inner_vectors_MD):
        raise BundleRefusedError(f"{path}: support_items_GS names rows that were not trained")
    present_GS = items_GS >= 0
    state_GP = graphs.adapt_user(
        prior_GD,
        np.where(present_GS[..., None], inner_vectors_MD[items_GS], np.float32(0)),
        np.where(present_GS, bias_N[items_GS], np.float32(0)),
        golden["support_label_GS"],
        golden["support_weight_GS"],
        int(golden["steps"]),
        inner_vectors_MD,
        bias_N[: len(inner_vectors_MD)],
    )
    _compare(path, "state_GP", state_GP, golden["state_GP"])
    scores_GN = state_GP[:, : vectors_ND.shape[1]] @ vectors_ND.T + bias_N
    _compare_lists(path, scores_GN, kernel, golden)


def replay_items(
    path: Path, graphs: Graphs, sample_states_MD: Floats, sample_offset_M: Floats
) -> None:
    """Do the same for the adaptation of items.

    Args:
        path: golden.npz.
        graphs: the bundle's, adapt_item among them.
        sample_states_MD: of the bundle's sample users.
        sample_offset_M: theirs.

    Raises:
        BundleRefusedError: an array is missing or an answer deviates; the message names it.
    """
    golden = _read(path, _ITEM_ARRAYS)
    prior_HD, prior_bias_H, states_HSD, offset_HS, weight_HS, exposure_H, vectors_HD, bias_H = (
        golden[name] for name in _ITEM_ARRAYS
    )
    given = prior_HD, prior_bias_H, states_HSD, offset_HS, weight_HS, exposure_H
    found = graphs.adapt_item(*given, sample_states_MD, sample_offset_M)
    _compare(path, "item_adapt_vectors_HD", found[0], vectors_HD)
    _compare(path, "item_adapt_bias_H", found[1], bias_H)


def _read(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as exc:
        raise BundleRefusedError(f"{path} lacks golden arrays: {exc}; export it again") from exc


def _compare(path: Path, name: str, actual: NDArray[Any], expected: NDArray[Any]) -> None:
    if actual.shape != expected.shape:
        raise BundleRefusedError(
            f"{path}: {name} came out as {actual.shape}, recorded was {expected.shape}"
        )
    if not actual.size:
        return
    scale = max(float(np.abs(expected).max()), 1e-6)
    deviation = float(np.abs(actual - expected).max()) / scale
    if not deviation <= TOLERANCE:
        raise BundleRefusedError(
            f"{path}: {name} deviates by {deviation:.2e} of its magnitude from what was recorded "
            f"at export (allowed {TOLERANCE:g}); serve on the runtime it was exported for"
        )


def _compare_lists(
    path: Path, scores_GN: Floats, kernel: Kernel | None, golden: dict[str, NDArray[Any]]
) -> None:
    items_GS, label_GS = golden["support_items_GS"], golden["support_label_GS"]
    positive_GS = (items_GS >= 0) & (label_GS == 1.0)
    weight_GS = np.where(positive_GS, golden["support_weight_GS"], np.float32(0))
    lists = zip(scores_GN, items_GS, weight_GS, golden["top_items_G10"], strict=True)
    for scores_N, items_S, weight_S, expected in lists:
        if kernel is not None:
            add_kernel(scores_N, kernel, items_S, weight_S)
        _compare_top(path, scores_N, items_S[items_S >= 0], expected)


def _compare_top(
    path: Path, scores_N: Floats, support: NDArray[np.int64], expected: NDArray[np.int64]
) -> None:
    """The recorded list must be a best list up to the tolerance (near ties may change places)."""
    listed = expected[expected >= 0]
    remaining_N = scores_N.copy()
    remaining_N[support] = -np.inf
    best = np.sort(remaining_N)[::-1][: len(listed)]
    _compare(path, "scores of top_items_G10", remaining_N[listed], best)
