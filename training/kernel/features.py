"""What the kernel sees of an edge s -> i, with the user's own contribution taken out in training.

Leaving the user out is decisive: counts that already hold the answer teach the kernel to trust
pairs that only this user made.

Shape legend: B tasks, S support rows, N items, E edges, P pairs of a support row and an edge.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from training.kernel.pairs import Graph
from training.tasks import Histories

FEATURES = ("count", "exclusiveness", "order", "nearness", "degree_s", "degree_i", "content")
"""log c, log w/c, o/w, log t/c, log degree of s, log degree of i, cosine of the items' content."""

_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Pairs:
    """Support rows joined with their edges."""

    task_P: NDArray[np.int64]
    item_P: NDArray[np.int64]
    rank_P: NDArray[np.int64]
    """0 for the latest support row, 1 for the one before, ..."""
    features_PF: NDArray[np.float32]


def content_cosine(graph: Graph, content_NF: csr_matrix | None) -> NDArray[np.float32]:
    """Cosine of the idf-weighted content of both ends of every edge, (E,); 0 without content."""
    cosine_E = np.zeros(len(graph.item_E), dtype=np.float32)
    if content_NF is None or content_NF.shape[1] <= 1:
        return cosine_E
    columns = content_NF[:, 1:]
    rows_F = np.asarray((columns != 0).sum(axis=0)).ravel()
    weighted = csr_matrix(columns @ diags(np.log((graph.n_items + 1) / (rows_F + 1))))
    norm_N = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    unit = csr_matrix(diags(1.0 / np.maximum(norm_N, 1e-9)) @ weighted)
    source_E = graph.source_E
    for start in range(0, len(cosine_E), _ROWS):
        piece = slice(start, start + _ROWS)
        product = unit[source_E[piece]].multiply(unit[graph.item_E[piece]])
        cosine_E[piece] = np.asarray(product.sum(axis=1)).ravel()
    return cosine_E


def edge_features(graph: Graph, cosine_E: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of every edge from full counts, (E, F): what serving uses."""
    degree_N = graph.degree_N
    return _features(
        graph.users_E,
        graph.weight_E,
        graph.after_E,
        graph.near_E,
        degree_N[graph.source_E],
        degree_N[graph.item_E],
        cosine_E,
    )


def join(support_BS: NDArray[np.int32], graph: Graph) -> tuple[NDArray[np.int64], ...]:
    """Pairs of support rows and edges: task, source item, edge, rank; each (P,)."""
    size_B = (support_BS >= 0).sum(axis=1)
    task_R, place_R = np.nonzero(support_BS >= 0)
    source_R = support_BS[task_R, place_R].astype(np.int64)
    rank_R = size_B[task_R] - 1 - place_R
    degree_R = graph.indptr_N1[source_R + 1] - graph.indptr_N1[source_R]
    row_P = np.repeat(np.arange(len(source_R)), degree_R)
    offset = np.cumsum(degree_R) - degree_R
    edge_P = np.arange(len(row_P)) - offset[row_P] + graph.indptr_N1[source_R][row_P]
    return task_R[row_P], source_R[row_P], edge_P, rank_R[row_P]


def training_pairs(
    support_BS: NDArray[np.int32],
    own: Histories,
    graph: Graph,
    cosine_E: NDArray[np.float32],
) -> Pairs:
    """Pairs of training users, every statistic without the user's own history.

    Args:
        support_BS: items of the supports, oldest first, -1 behind.
        own: the B users' histories as they were counted (see `pairs.recent`).
        graph: full counts.
        cosine_E: see `content_cosine`.
    """
    task_P, source_P, edge_P, rank_P = join(support_BS, graph)
    place_BN = np.zeros((own.n_users, own.n_items), dtype=np.int32)
    within = np.arange(len(own.item_E)) - np.repeat(own.indptr_U1[:-1], own.lengths_U)
    place_BN[own.user_E, own.item_E] = within + 1
    item_P = graph.item_E[edge_P].astype(np.int64)
    s_P, i_P = place_BN[task_P, source_P], place_BN[task_P, item_P]
    own_P = ((s_P > 0) & (i_P > 0)).astype(np.float32)
    share_P = own_P / np.maximum(own.lengths_U[task_P] - 1, 1)
    users_P = graph.users_E[edge_P] - own_P
    kept = users_P > 0.5  # the pair is this user's alone: without them there is no edge
    features_PF = _features(
        users_P[kept],
        (graph.weight_E[edge_P] - share_P)[kept],
        (graph.after_E[edge_P] - share_P * (s_P < i_P))[kept],
        (graph.near_E[edge_P] - own_P * np.exp(-(np.abs(s_P - i_P) - 1) / 2))[kept],
        (graph.degree_N[source_P] - 1)[kept],
        (graph.degree_N[item_P] - (i_P > 0))[kept],
        cosine_E[edge_P][kept],
    )
    return Pairs(task_P[kept], item_P[kept], rank_P[kept], features_PF)


def _features(
    users: NDArray[np.floating],
    weight: NDArray[np.floating],
    after: NDArray[np.floating],
    near: NDArray[np.floating],
    source_degree: NDArray[np.floating],
    item_degree: NDArray[np.floating],
    cosine: NDArray[np.floating],
) -> NDArray[np.float32]:
    weight = np.maximum(weight, 1e-6)
    return np.stack(
        [
            np.log(users),
            np.log(weight / users),
            np.clip(after / weight, 0.0, 1.0),
            np.log(np.maximum(near, 1e-6) / users),
            np.log1p(source_degree),
            np.log1p(item_degree),
            cosine,
        ],
        axis=1,
    ).astype(np.float32)
