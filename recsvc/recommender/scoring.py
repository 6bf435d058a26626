"""What items score for a user, and what each support row adds to that.

The adapted vector against every item, pooled with the item-item kernel where the bundle has one.
Pure functions. Knows nothing of queries, filters, Redis or HTTP.

Shape legend: N items, M trained items, S support rows, L rows left out, K = 1 + L variants of a
support, C candidates, D dims, P state width.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsvc.adaptation import Floats, Support
from recsvc.bundle import Bundle
from recsvc.candidates import Rows, log_totals, scan
from recsvc.catalogue import Catalogue
from recsvc.contract.pooling import Doubles, Edges, Kernel, add_kernel, lift, support_factors
from recsvc.recommender.support import positive_weights


def score(
    bundle: Bundle, catalogue: Catalogue, state_P: Floats, rows: Sequence[int], support: Support
) -> Floats:
    """The served scores of all items, (N,).

    Args:
        bundle: its kernel joins the vector's scores.
        catalogue: every item that can be scored.
        state_P: adapted to the support.
        rows: catalogue rows of the support, oldest first.
        support: labels and weights of these rows.
    """
    scores_N = scan(state_P[: bundle.manifest.adaptation.dims], catalogue.blocks)
    if bundle.kernel is not None and len(rows):
        rows_S = np.asarray(rows, dtype=np.int64)
        add_kernel(scores_N, bundle.kernel, rows_S, positive_weights(support))
    return scores_N


def added_by_each(
    bundle: Bundle,
    catalogue: Catalogue,
    rows_C: Rows,
    states_KP: Floats,
    support_S: Rows,
    weight_KS: Floats,
) -> Doubles:
    """Served scores of the whole support less those of the support without one row each.

    Args:
        bundle: of the model.
        catalogue: where the candidates are.
        rows_C: catalogue rows of the candidates.
        states_KP: the state that is served, then the states without one row each.
        support_S: catalogue rows of all support rows that are in any variant, oldest first.
        weight_KS: for each variant the weight of its positive rows; 0: not positive, or left out.

    Returns:
        (L, C); negative where the row speaks against the item.
    """
    states_KD = states_KP[:, : bundle.manifest.adaptation.dims]
    vectors_CD = catalogue.vectors(rows_C).astype(np.float64)
    scores_KC: Doubles = states_KD @ vectors_CD.T + catalogue.biases(rows_C)
    if bundle.kernel is not None:
        scores_KC += _kernel_part(
            bundle, bundle.kernel, states_KD, scores_KC, rows_C, support_S, weight_KS
        )
    added_LC: Doubles = scores_KC[0] - scores_KC[1:]
    return added_LC


def _kernel_part(
    bundle: Bundle,
    kernel: Kernel,
    states_KD: Floats,
    scores_KC: Doubles,
    rows_C: Rows,
    support_S: Rows,
    weight_KS: Floats,
) -> Doubles:
    """What the kernel adds to each candidate under each variant of the support."""
    strength_SC = _strengths(kernel.edges, support_S, rows_C)
    mass_KC = support_factors(weight_KS, kernel.pooling) @ strength_SC
    size_K1 = np.count_nonzero(weight_KS > 0, axis=1, keepdims=True)
    total_K1: Doubles | float = 0.0
    if kernel.pooling.theta != 0.0 and mass_KC.any():
        trained = slice(bundle.catalogue_items)
        total_K = log_totals(states_KD, bundle.vectors_ND[trained], bundle.bias_N[trained])
        total_K1 = total_K[:, None]
    return lift(scores_KC, mass_KC, total_K1, size_K1, kernel.pooling)


def _strengths(edges: Edges, support_S: Rows, rows_C: Rows) -> Doubles:
    """What each support row says of each candidate; 0 where there is no edge."""
    column_M: NDArray[np.int64] = np.full(edges.n_trained, -1)
    trained_C = np.flatnonzero(rows_C < edges.n_trained)
    column_M[rows_C[trained_C]] = trained_C
    place_P, item_P, strength_P = edges.of(support_S)
    column_P = column_M[item_P]
    wanted = column_P >= 0
    strength_SC = np.zeros((len(support_S), len(rows_C)))
    strength_SC[place_P[wanted], column_P[wanted]] = strength_P[wanted]
    return strength_SC
