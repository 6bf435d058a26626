"""Cold users whose supports are cold items: users folded into the space of adapted items.

Knows nothing of how items adapt. With v_s the vectors of a user's support and m the mean vector of
warm users, the user's vector u solves

    (V'V + a Σ v_s v_s' + λ g I) u = (a + 1) Σ v_s + (V'V + λ g I) m

where g is the mean diagonal of V'V: without support the user is the average one. A space with a
fold-in of its own uses that. Scores of cold items are scaled once more: a new user asks for warm
items far more often than a known one, who has most of them already. λ, a and the scale are chosen
for each support size of the items on validation users.

Shape legend: B users, S support rows, U warm users, N items, D dims.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.baselines.search import search
from training.items.embedding import Embedding
from training.items.task import ColdItemTask, Ranker, measure, quality
from training.tasks import PADDING

_AXES: Mapping[str, Sequence[float]] = {
    "strength": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0),
    "weight": (2.0, 7.0, 20.0, 60.0),
    "scale": (0.1, 0.2, 0.3, 0.45, 0.7, 1.0),
}
# Of scales that rank the folds alike the search keeps the one it starts at: the lowest, which lifts
# no cold item that nothing speaks for.
_STARTS = (
    {"strength": 1.0, "weight": 7.0, "scale": 0.1},
    {"strength": 0.1, "weight": 60.0, "scale": 0.1},
)

Settings = Mapping[str, float]


def folded_users(
    embedding: Embedding, support_BS: NDArray[np.int32], settings: Settings
) -> NDArray[np.float32]:
    """Vectors of cold users, (B, D).

    Args:
        embedding: warm users and all items, the cold ones adapted.
        support_BS: item codes, `PADDING` where there are fewer.
        settings: strength and weight.
    """
    if embedding.fold_in is not None:
        return embedding.fold_in(embedding.items_ND, support_BS)
    items_ND = embedding.items_ND.astype(np.float64)
    users_UD = embedding.users_UD[np.linalg.norm(embedding.users_UD, axis=1) > 0]
    mean_D = users_UD.mean(axis=0).astype(np.float64)
    dims = items_ND.shape[1]
    base_DD = items_ND.T @ items_ND
    base_DD += settings["strength"] * np.trace(base_DD) / dims * np.eye(dims)
    rows_BSD = items_ND[np.maximum(support_BS, 0)] * (support_BS != PADDING)[:, :, None]
    left_BDD = base_DD + settings["weight"] * (rows_BSD.transpose(0, 2, 1) @ rows_BSD)
    right_BD = (settings["weight"] + 1.0) * rows_BSD.sum(axis=1) + base_DD @ mean_D
    return np.linalg.solve(left_BDD, right_BD[:, :, None])[:, :, 0].astype(np.float32)


def ranker(
    embedding: Embedding, task: ColdItemTask, support_US: NDArray[np.int32], settings: Settings
) -> Ranker:
    """Scores for the cold users of a task, folded in from their supports."""
    vectors_UD = folded_users(embedding, support_US, settings)
    scaled = embedding.times(settings["scale"])

    def rank(users_B: NDArray[np.integer]) -> NDArray[np.float32]:
        return scaled.scores(vectors_UD[np.searchsorted(task.users_U, users_B)])

    return rank


def choose_user_settings(
    embeddings: Sequence[Embedding],
    tasks: Sequence[tuple[ColdItemTask, NDArray[np.int32]]],
    n: int,
) -> tuple[Settings, float]:
    """The settings that rank best for the folds' cold users, and their figure."""

    def figure(settings: Settings) -> float:
        figures = [
            quality(measure("user fold-in", ranker(e, task, support_US, settings), task, n))
            for e, (task, support_US) in zip(embeddings, tasks, strict=True)
        ]
        return float(np.mean(figures))

    own = any(e.fold_in is not None for e in embeddings)
    starts = _STARTS[:1] if own else _STARTS
    axes = _AXES if not own else {**{k: [v] for k, v in starts[0].items()}, "scale": _AXES["scale"]}
    found = [search(axes, (start,), figure)[0] for start in starts]
    chosen = max(found, key=figure)
    return chosen, figure(chosen)
