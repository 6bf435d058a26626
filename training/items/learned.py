"""Our method for cold items: posterior steps in the users' space, with what training learned of it.

Knows nothing of how items were split. Learned: the prior from content, its precision (from its
leave-one-out errors on warm items, so that a support moves a vector most where content says
least), and for each support size how much an interaction and the prior weigh, where exposure
counts from, and how scores of cold items relate to those of warm ones. These settings are
found on cross-fitted folds of training items, each with a space of its own that never saw them.

A cold item's score is tau |u|^-q u . v. Vectors of warm items were fitted to the very users that
are ranked for, those of cold items were not: their scores relate differently to the user's norm.

Shape legend: U users, I cold items, W warm items, N items, S support rows, D dims, B users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.baselines.search import search
from training.items.adapt import AdaptParameters, adapt_items
from training.items.content import ContentRidge, expand, noise_of
from training.items.embedding import Embedding
from training.items.space import Space, common_basis, score_metric, unscored
from training.items.task import ColdItemData, ColdItemTask, ItemSupports
from training.items.tuning import (
    TUNING_USERS,
    choose_space,
    content_weights,
    fold_space,
    mean_quality,
)
from training.tasks import PADDING

AXES: Mapping[str, Sequence[float]] = {
    "prior": (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0),
    "strength": (0.003, 0.006, 0.012, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6),
    "weight": (1.0, 2.0, 4.0, 8.0, 16.0),
    "norm_power": (0.0, 0.2, 0.4, 0.6, 0.8),
    "scale": (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5),
    "flatness": (0.0, 0.25, 0.5, 0.75, 1.0),
}
"""Settings that are searched for each support size."""
START: Mapping[str, float] = {
    "prior": 2.8,
    "strength": 0.025,
    "weight": 4.0,
    "norm_power": 0.0,
    "scale": 1.0,
    "from_first": 0.0,
    "flatness": 0.5,
}
LATE_START: Mapping[str, float] = {
    **START,
    "prior": 1.0,
    "strength": 0.4,
    "weight": 16.0,
    "norm_power": 0.4,
    "from_first": 1.0,
}
"""Where the other summit is: items that appear late, their exposure counted from then on."""
_WITHOUT_SUPPORT = ("prior", "norm_power", "flatness")

Settings = Mapping[str, float]


@dataclass(frozen=True)
class ItemSpace:
    """A space, and what adapting needs in the basis where the content prior's precision is I and
    the Gram matrix diagonal. Scores u . v are the same in any basis.
    """

    space: Space
    basis_DD: torch.Tensor
    """Maps users into the basis: u' = B u; so v = B' v' brings items back."""
    users_UD: torch.Tensor
    """Of warm users, in the basis; as all below."""
    prior_ND: torch.Tensor
    """v0 of every item, well-known warm items weighing more."""
    flat_prior_ND: torch.Tensor
    """The same, all warm items weighing alike: items of a recent cohort are seldom well known."""
    gram_D: torch.Tensor
    visits: float


def item_space(data: ColdItemData, space: Space, weights: Mapping[str, float]) -> ItemSpace:
    """The content prior and its precision for a given space.

    Args:
        data: what the space was fitted to.
        space: users' and warm items' vectors.
        weights: of the content's columns.
    """
    warm_W = data.warm.items_I
    expanded_NE, blocks = expand(data.item_features, data.item_schema)
    counts_W = data.train.counts()[warm_W]
    noise_W = noise_of(counts_W)
    # Errors count by what they do to scores: |U (v - v0)|^2.
    root_DD = score_metric(space)
    scored_WD = space.items_ND[warm_W].astype(np.float64) @ root_DD
    ridge = ContentRidge(expanded_NE, blocks, warm_W)
    prior = ridge.fit(scored_WD, weights, noise_W)
    flat_ND = ridge.fit(scored_WD, weights).predict(expanded_NE)
    residual_WD = unscored(root_DD, prior.residual_WD)
    # Well-known vectors tell more of what content leaves open.
    known_W1 = (1.0 / np.sqrt(noise_W))[:, None]
    to_users_DD, to_items_DD, gram_D = common_basis(space.gram_DD, residual_WD * known_W1)
    prior_ND = unscored(root_DD, prior.predict(expanded_NE))
    return ItemSpace(
        space=space,
        basis_DD=_tensor(to_users_DD),
        users_UD=_tensor(space.users_UD @ to_users_DD.T),
        prior_ND=_tensor(prior_ND @ to_items_DD.T),
        flat_prior_ND=_tensor(unscored(root_DD, flat_ND) @ to_items_DD.T),
        gram_D=_tensor(gram_D),
        visits=data.visits,
    )


class AdaptedItems:
    """The method, as `training.items.task.ItemMethod`."""

    name = "ours"

    def fit(self, data: ColdItemData) -> None:
        self._space_settings = choose_space(data)
        dims, l2 = int(self._space_settings["dims"]), self._space_settings["l2"]
        self._weights = content_weights(data, dims, l2, weighted=True)
        self._folds = [
            item_space(fold, fold_space(fold, dims, l2), self._weights) for fold, _ in data.folds
        ]
        tasks = [task.sample(TUNING_USERS, data.seed) for _, task in data.folds]
        self._chosen = choose_settings(self._folds, tasks, data.sizes, has_time=data.has_time)
        self._model = item_space(data, fold_space(data, dims, l2), self._weights)

    def embed(self, supports: ItemSupports, n: int) -> Embedding:
        return embedding(self._model, supports, self._chosen[n][0])

    def embed_fold(self, fold: int, supports: ItemSupports, n: int) -> Embedding:
        return embedding(self._folds[fold], supports, self._chosen[n][0])

    def validation(self, n: int) -> float:
        return self._chosen[n][1]

    def settings(self) -> dict[str, Any]:
        return {
            "space": self._space_settings,
            "by_size": {str(n): dict(s) for n, (s, _) in self._chosen.items()},
            "content_weights": self._weights,
        }


Chosen = dict[int, tuple[Settings, float]]
"""By support size: settings, and their figure on the folds."""


def choose_settings(
    folds: Sequence[ItemSpace],
    tasks: Sequence[ColdItemTask],
    sizes: Sequence[int],
    *,
    has_time: bool,
) -> Chosen:
    """The best settings of every support size on the folds.

    Where exposure counts from is a property of the items, so it is one choice for all sizes.
    """
    starts = (START, LATE_START) if has_time else (START,)
    found = [_search_sizes(folds, tasks, sizes, start) for start in starts]
    return max(found, key=lambda chosen: float(np.mean([v for _, v in chosen.values()])))


def _search_sizes(
    folds: Sequence[ItemSpace],
    tasks: Sequence[ColdItemTask],
    sizes: Sequence[int],
    start: Settings,
) -> Chosen:
    """Search each size from where the one before it ended."""
    chosen: Chosen = {}
    for n in sizes:
        free = set(AXES) if n > 0 else set(_WITHOUT_SUPPORT)
        axes = {k: AXES[k] if k in free else [start[k]] for k in start}

        def figure(settings: Settings, n: int = n) -> float:
            found = [
                embedding(f, t.supports.head(n), settings)
                for f, t in zip(folds, tasks, strict=True)
            ]
            return mean_quality("ours", found, tasks, n)

        found, _ = search(axes, (start,), figure)
        chosen[n] = found, figure(found)
        start = found if n > 0 else start
    return chosen


def adapted(model: ItemSpace, supports: ItemSupports, settings: Settings) -> torch.Tensor:
    """The cold items' vectors in the basis, (I, D)."""
    items = torch.from_numpy(supports.items_I)
    users_IS = torch.from_numpy(np.maximum(supports.users_IS, 0).astype(np.int64))
    known_IS = torch.from_numpy((supports.users_IS != PADDING).astype(np.float32))
    origin = "first" if settings["from_first"] else "start"
    flat = settings["flatness"]
    prior_ID = (1.0 - flat) * model.prior_ND[items] + flat * model.flat_prior_ND[items]
    return adapt_items(
        settings["prior"] * prior_ID,
        model.users_UD[users_IS],
        known_IS,
        _tensor(supports.exposure(origin, model.visits)),
        model.gram_D,
        parameters(settings, float(model.gram_D.mean())),
    )


def parameters(settings: Settings, gram: float) -> AdaptParameters:
    """Settings as the posterior's parameters; the strength is in units of the mean Gram."""
    return AdaptParameters(
        log_weight=torch.tensor(np.log(settings["weight"]), dtype=torch.float32),
        log_strength=torch.tensor(np.log(settings["strength"] * gram), dtype=torch.float32),
    )


def embedding(model: ItemSpace, supports: ItemSupports, settings: Settings) -> Embedding:
    """Warm items as they are, cold ones adapted."""
    items_ND = model.space.items_ND.copy()
    items_ND[supports.items_I] = (adapted(model, supports, settings) @ model.basis_DD).numpy()
    cold_N = np.zeros(len(items_ND), dtype=np.bool_)
    cold_N[supports.items_I] = True
    return Embedding(
        model.space.users_UD, items_ND, cold_N, settings["scale"], settings["norm_power"]
    )


def _tensor(values: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
