"""Baselines for cold items: a vector from content, folded in with the support by least squares.

Knows nothing of how items were split. The vector v of an item with support users u, n of them,
exposed to a share f of all visits, solves

    (f G + a Σ u u' + λ g I) v = (a + 1) Σ u + λ g t v0

with G the users' Gram matrix, g its mean diagonal, v0 what content says and t its scale. Without
knowledge of exposure f is 1: whoever did not take the item yet counts as having passed it by.
λ, t, a and where exposure is counted from are tuned for each support size.

Shape legend: I cold items, W warm items, N items, S support rows, D dims, B users.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.baselines.search import search
from training.items.content import ContentRidge, expand
from training.items.embedding import Embedding
from training.items.space import Space, score_metric, unscored
from training.items.task import ColdItemData, ColdItemTask, ItemSupports
from training.items.tuning import (
    TUNING_USERS,
    choose_space,
    content_weights,
    fold_space,
    mean_quality,
)
from training.tasks import PADDING

PriorKind = Literal["knn", "ridge", "blocks"]

_SCALES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
_STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_WEIGHTS = (2.0, 7.0, 20.0, 60.0)
_NEIGHBOURS = (5.0, 20.0, 60.0)
Settings = Mapping[str, float]


@dataclass(frozen=True)
class Fitted:
    """A space, and what content says of every item in it."""

    space: Space
    prior_ND: NDArray[np.float64]
    visits: float


class ContentFoldIn:
    """One of the content baselines."""

    def __init__(self, name: str, prior: PriorKind, *, exposed: bool = False) -> None:
        """
        Args:
            name: as in tables.
            prior: nearest neighbours, plain ridge, or ridge with a weight a column.
            exposed: whether it knows how many visits an item was exposed to.
        """
        self.name = name
        self._prior = prior
        self._exposed = exposed

    def fit(self, data: ColdItemData) -> None:
        self._space = choose_space(data)
        self._content_weights = (
            {}
            if self._prior == "knn"
            else content_weights(
                data,
                int(self._space["dims"]),
                self._space["l2"],
                weighted=self._prior == "blocks",
            )
        )
        tasks = [task.sample(TUNING_USERS, data.seed) for _, task in data.folds]
        options = _NEIGHBOURS if self._prior == "knn" else (0.0,)
        origins = (0.0, 1.0) if self._exposed and data.has_time else (None,)
        fitted = {k: [self._fitted(fold, k) for fold, _ in data.folds] for k in options}
        self._folds = fitted
        found = [
            {n: max(self._tune(fitted, tasks, n, origin), key=itemgetter(1)) for n in data.sizes}
            for origin in origins
        ]
        # Where exposure counts from is a property of the items: one choice for all sizes.
        self._chosen = max(found, key=lambda by_n: float(np.mean([v for _, v in by_n.values()])))
        needed = sorted({s["neighbours"] for s, _ in self._chosen.values()})
        self._models = {k: self._fitted(data, k) for k in needed}

    def embed(self, supports: ItemSupports, n: int) -> Embedding:
        settings = self._chosen[n][0]
        return _embedding(self._models[settings["neighbours"]], supports, settings)

    def embed_fold(self, fold: int, supports: ItemSupports, n: int) -> Embedding:
        settings = self._chosen[n][0]
        return _embedding(self._folds[settings["neighbours"]][fold], supports, settings)

    def validation(self, n: int) -> float:
        return self._chosen[n][1]

    def settings(self) -> dict[str, Any]:
        return {
            "space": self._space,
            "content_weights": self._content_weights,
            "by_size": {str(n): dict(s) for n, (s, _) in self._chosen.items()},
        }

    def _tune(
        self,
        fitted: Mapping[float, Sequence[Fitted]],
        tasks: Sequence[ColdItemTask],
        n: int,
        from_first: float | None,
    ) -> Iterator[tuple[Settings, float]]:
        """Good settings of one support size on the folds, and their figures."""
        starts = [{"scale": 2.0}]
        axes: dict[str, Sequence[float]] = {"scale": _SCALES}
        if n > 0:
            axes |= {"strength": _STRENGTHS, "weight": _WEIGHTS}
            starts = [{"scale": 2.0, "strength": s, "weight": 7.0} for s in (0.1, 10.0)]
        fixed = {} if n == 0 or from_first is None else {"from_first": from_first}
        for neighbours, models in fitted.items():

            def figure(settings: Settings, models: Sequence[Fitted] = models) -> float:
                embeddings = [
                    _embedding(f, task.supports.head(n), {**settings, **fixed})
                    for f, task in zip(models, tasks, strict=True)
                ]
                return mean_quality(self.name, embeddings, tasks, n)

            for start in starts:
                chosen, _ = search(axes, (start,), figure)
                yield {**chosen, **fixed, "neighbours": neighbours}, figure(chosen)

    def _fitted(self, data: ColdItemData, neighbours: float) -> Fitted:
        space = fold_space(data, int(self._space["dims"]), self._space["l2"])
        expanded_NE, blocks = expand(data.item_features, data.item_schema)
        warm_W = data.warm.items_I
        vectors_WD = space.items_ND[warm_W].astype(np.float64)
        if self._prior == "knn":
            near_ND = _nearest(expanded_NE, warm_W, vectors_WD, int(neighbours))
            return Fitted(space, near_ND, data.visits)
        root_DD = score_metric(space)
        prior = ContentRidge(expanded_NE, blocks, warm_W).fit(
            vectors_WD @ root_DD, self._content_weights
        )
        return Fitted(space, unscored(root_DD, prior.predict(expanded_NE)), data.visits)


def _embedding(fitted: Fitted, supports: ItemSupports, settings: Settings) -> Embedding:
    adapted_ID: NDArray[np.floating] = settings["scale"] * fitted.prior_ND[supports.items_I]
    if "strength" in settings:
        exposure_I = np.ones(len(adapted_ID))
        if "from_first" in settings:
            origin = "first" if settings["from_first"] else "start"
            exposure_I = supports.exposure(origin, fitted.visits)
        adapted_ID = folded(
            fitted.space,
            adapted_ID,
            supports.users_IS,
            exposure_I,
            settings["strength"],
            settings["weight"],
        )
    vectors_ND = fitted.space.items_ND.copy()
    vectors_ND[supports.items_I] = adapted_ID
    cold_N = np.zeros(len(vectors_ND), dtype=np.bool_)
    cold_N[supports.items_I] = True
    return Embedding(fitted.space.users_UD, vectors_ND, cold_N)


def folded(
    space: Space,
    prior_ID: NDArray[np.floating],
    users_IS: NDArray[np.int32],
    exposure_I: NDArray[np.float64],
    strength: float,
    weight: float,
) -> NDArray[np.float64]:
    """The vectors that solve the module's equation, (I, D)."""
    known_IS1 = (users_IS != PADDING)[:, :, None]
    rows_ISD = space.users_UD[np.maximum(users_IS, 0)].astype(np.float64) * known_IS1
    pull = strength * np.trace(space.gram_DD) / space.dims
    left_IDD = exposure_I[:, None, None] * space.gram_DD
    left_IDD += weight * (rows_ISD.transpose(0, 2, 1) @ rows_ISD) + pull * np.eye(space.dims)
    right_ID = (weight + 1.0) * rows_ISD.sum(axis=1) + pull * prior_ID
    solved_ID: NDArray[np.float64] = np.linalg.solve(left_IDD, right_ID[:, :, None])[:, :, 0]
    return solved_ID


def _nearest(
    expanded_NE: NDArray[np.float64],
    warm_W: NDArray[np.integer],
    vectors_WD: NDArray[np.float64],
    neighbours: int,
) -> NDArray[np.float64]:
    """The mean vector of the nearest warm items by cosine, weighted by it, (N, D)."""
    centred_NE = expanded_NE - expanded_NE[warm_W].mean(axis=0)
    norm_N1 = np.sqrt((centred_NE**2).sum(axis=1, keepdims=True))
    unit_NE = centred_NE / np.maximum(norm_N1, 1e-9)
    similar_NW = np.maximum(unit_NE @ unit_NE[warm_W].T, 1e-9)
    k = min(neighbours, len(warm_W))
    kth_N1 = np.partition(similar_NW, -k, axis=1)[:, [-k]]
    similar_NW[similar_NW < kth_N1] = 0.0
    mean_ND: NDArray[np.float64] = similar_NW @ vectors_WD
    mean_ND /= similar_NW.sum(axis=1, keepdims=True)
    return mean_ND
