"""Why an item is in a list: the support items that raised its score most.

A contribution is the score minus the score that the user would see without that one item; where the
support is full, with the older item that would come in for it. Knows nothing of queries or HTTP.

Shape legend: S support rows, L explained support rows, K = 1 + L states, C candidates, D dims,
P state width.
"""

from collections.abc import Sequence

import numpy as np

from recsvc.adaptation import Floats, adapt_without_each
from recsvc.bundle import Bundle
from recsvc.candidates import Rows
from recsvc.catalogue import Catalogue
from recsvc.contract.pooling import Doubles
from recsvc.recommender.scoring import added_by_each
from recsvc.recommender.support import Known, gather, positive_weights
from recsvc.recommender.values import Reason

EXPLAINED_ROWS = 32
"""Most recent support rows that reasons are looked for in."""
REASONS = 3


def reasons_of(
    bundle: Bundle,
    catalogue: Catalogue,
    rows_C: Rows,
    known: Sequence[Known],
    prior_D: Floats,
    state_P: Floats,
) -> list[tuple[Reason, ...]]:
    """For each candidate the support items that raised its score, strongest first.

    Args:
        bundle: of the model.
        catalogue: where the candidates are.
        rows_C: their rows.
        known: all that is known of the user, oldest first.
        prior_D: where the user starts.
        state_P: adapted to the support that is served: the most recent rows of `known`.
    """
    if not known or not len(rows_C):
        return [() for _ in rows_C]
    adaptation = bundle.manifest.adaptation
    support_rows, support = gather(catalogue, known[-(adaptation.max_support + 1) :])
    n_spare = max(0, len(support) - adaptation.max_support)
    explained = range(max(n_spare, len(support) - EXPLAINED_ROWS), len(support))
    without_LP = adapt_without_each(
        bundle.graphs,
        prior_D,
        support,
        explained,
        adaptation.steps,
        *bundle.inner_catalogue,
    )
    weight_KS = np.repeat(positive_weights(support)[None], 1 + len(explained), axis=0)
    weight_KS[0, :n_spare] = 0.0
    weight_KS[np.arange(1, len(weight_KS)), explained] = 0.0
    states_KP = np.concatenate([state_P[None], without_LP])
    support_S = np.asarray(support_rows, dtype=np.int64)
    added_LC = added_by_each(bundle, catalogue, rows_C, states_KP, support_S, weight_KS)
    item_ids = [catalogue.ids[support_rows[s]] for s in explained]
    return [_strongest(added_L, item_ids) for added_L in added_LC.T]


def _strongest(added_L: Doubles, item_ids: Sequence[str]) -> tuple[Reason, ...]:
    order = sorted(range(len(item_ids)), key=lambda s: (-added_L[s], item_ids[s]))
    return tuple(Reason(item_ids[s], float(added_L[s])) for s in order[:REASONS] if added_L[s] > 0)
