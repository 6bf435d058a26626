"""The space of a trained model, and new items in it: prior from content, then posterior steps.

Knows nothing of splits, protocols or files.

Shape legend: U users, M sample users, N item codes, I new items, S support rows, D dims, P = D + 1
(vector and bias).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.schema import FeatureSchema
from training.baselines.search import search
from training.items.embedding import Embedding
from training.items.prior import FittedPrior, fit_prior, score_root
from training.items.states import (
    SAMPLE_USERS,
    UserStates,
    item_vectors,
    sample_by_events,
    user_states,
)
from training.items.task import ColdItemTask, ItemSupports, measure, quality
from training.outer_loop import Trained
from training.posterior import PosteriorParameters, adapt_items
from training.tasks import PADDING, Histories

_BLOCK_ITEMS = 1024
_UNKNOWN_BIAS = -30.0
"""Of items that the model never saw and that are not new either."""


@dataclass(frozen=True, slots=True)
class ItemSettings:
    """What is chosen on held-out items, for all support sizes together."""

    scale: float = 1.0
    """Stretches content's vectors from the mean of the trained ones."""
    offset: float = 0.0
    """Added to every new item's bias: how much more they are asked for than trained items that a
    user has not taken so far."""
    exposure_weight: float = 0.5
    """See `PosteriorParameters`."""
    spread: float = 1.0
    """How unsure the bias is, beside what leave-one-out errors say."""
    from_first: float = 1.0
    """1: exposure counts from an item's first interaction; 0: from the first of the data."""


AXES: Mapping[str, Sequence[float]] = {
    "scale": (0.7, 1.0, 1.4, 2.0, 2.8),
    "offset": (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
    "exposure_weight": (0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0),
    "spread": (0.5, 0.7, 1.0, 1.4),
}
"""Settings that are searched."""


@dataclass(frozen=True, eq=False)
class SharedSpace:
    """Users, trained items, and what content says of every item."""

    states: UserStates
    """Of all users by code, from their training interactions."""
    sample: UserStates
    theta_NP: NDArray[np.float32]
    """Trained items by code; others' biases are the lowest."""
    prior: FittedPrior
    prior_NP: NDArray[np.float32]
    """Of every item code, not calibrated."""

    def parameters(self, settings: ItemSettings) -> PosteriorParameters:
        """What adapting takes, by settings."""
        root_PP = self.prior.root_PP.copy()
        root_PP[-1] *= settings.spread
        return PosteriorParameters(
            root_PP=torch.as_tensor(root_PP, dtype=torch.float32),
            exposure_weight=torch.tensor(settings.exposure_weight),
            first_event=torch.tensor(settings.from_first),
        )

    def adapted(self, supports: ItemSupports, settings: ItemSettings) -> NDArray[np.float32]:
        """New items after their supports, (I, P)."""
        stretch_P = np.append(np.full(self.theta_NP.shape[1] - 1, settings.scale), 1.0)
        apart_IP = self.prior_NP[supports.items_I] - self.prior.mean_P
        prior_IP = self.prior.mean_P + stretch_P * apart_IP
        prior_IP[:, -1] += settings.offset
        users_IS = np.maximum(supports.users_IS, 0)
        with torch.no_grad():
            adapted_IP = adapt_items(
                torch.as_tensor(prior_IP, dtype=torch.float32),
                torch.as_tensor(self.states.states_UD[users_IS]),
                torch.as_tensor((supports.users_IS != PADDING).astype(np.float32)),
                torch.as_tensor(
                    supports.events_met(from_first=settings.from_first > 0), dtype=torch.float32
                ),
                torch.as_tensor(self.sample.states_UD),
                torch.as_tensor(self.sample.offset_U),
                self.parameters(settings),
            )
        return adapted_IP.numpy()

    def embedding(self, supports: ItemSupports, settings: ItemSettings) -> Embedding:
        """Trained items as they are, new ones adapted; users end in a 1 that meets the bias."""
        theta_NP = self.theta_NP.copy()
        theta_NP[supports.items_I] = self.adapted(supports, settings)
        cold_N = np.zeros(len(theta_NP), dtype=np.bool_)
        cold_N[supports.items_I] = True
        states_UD = self.states.states_UD
        ones_U1 = np.ones((len(states_UD), 1), dtype=np.float32)
        return Embedding(np.concatenate([states_UD, ones_U1], axis=1), theta_NP, cold_N)


def shared_space(
    trained: Trained,
    rows_N: NDArray[np.int64],
    histories: Histories,
    user_features: csr_matrix,
    item_features: csr_matrix,
    schema: FeatureSchema,
    rng: np.random.Generator,
    block_weights: Mapping[str, float] | None = None,
) -> SharedSpace:
    """The space of a trained model.

    Args:
        trained: the model.
        rows_N: its row of every item code, -1 where it has none.
        histories: training interactions of all users by code.
        user_features: (U, F) encoded users.
        item_features: (N, F) of every item code.
        schema: layout of those.
        rng: draws the sample users, and rows to choose block weights on.
        block_weights: of the item columns, where they are known.
    """
    states = user_states(trained, rows_N, histories, user_features)
    sample = states.take(sample_by_events(histories.lengths_U, SAMPLE_USERS, rng))
    theta_IP = np.column_stack(item_vectors(trained))
    theta_NP = np.zeros((len(rows_N), theta_IP.shape[1]), dtype=np.float32)
    theta_NP[:, -1] = _UNKNOWN_BIAS
    theta_NP[trained.codes_M] = theta_IP
    prior = fit_prior(
        trained.item_features,
        schema,
        theta_IP,
        histories.counts()[trained.codes_M],
        score_root(sample.states_UD),
        rng,
        block_weights,
    )
    return SharedSpace(states, sample, theta_NP, prior, said_of(prior, item_features))


def said_of(prior: FittedPrior, features: csr_matrix) -> NDArray[np.float32]:
    """What content says of items, not calibrated, (N, P)."""
    module = prior.module()
    parts = []
    with torch.no_grad():
        for start in range(0, features.shape[0], _BLOCK_ITEMS):
            rows = torch.as_tensor(features[start : start + _BLOCK_ITEMS].toarray())
            vectors_BD, bias_B = module(rows.float())
            parts.append(torch.cat([vectors_BD, bias_B.unsqueeze(1)], dim=1))
    return torch.cat(parts).numpy()


def choose_settings(
    spaces: Sequence[SharedSpace],
    tasks: Sequence[ColdItemTask],
    users: Sequence[NDArray[np.float32] | None],
    sizes: Sequence[int],
    start: ItemSettings,
) -> tuple[ItemSettings, dict[int, float]]:
    """The settings that rank best for held-out items, and their `quality` by support size.

    Args:
        spaces: one a fold, of models that never saw the fold's items.
        tasks: the folds' items.
        users: states of the users to rank for, in the order of the task; None: they are known to
            the space.
        sizes: support sizes to judge by, all alike.
        start: where the search begins; `from_first` stays as it is.
    """

    def figures(settings: ItemSettings) -> dict[int, float]:
        return {
            n: float(
                np.mean(
                    [
                        _quality(space, task, own, n, settings)
                        for space, task, own in zip(spaces, tasks, users, strict=True)
                    ]
                )
            )
            for n in sizes
        }

    def figure(values: Mapping[str, float]) -> float:
        return float(np.mean(list(figures(replace(start, **values)).values())))

    begin = {name: value for name, value in asdict(start).items() if name in AXES}
    axes = {name: sorted({*values, begin[name]}) for name, values in AXES.items()}
    chosen = replace(start, **search(axes, (begin,), figure)[0])
    return chosen, figures(chosen)


def _quality(
    space: SharedSpace,
    task: ColdItemTask,
    own_UD: NDArray[np.float32] | None,
    n: int,
    settings: ItemSettings,
) -> float:
    embedding = space.embedding(task.supports.head(n), settings)
    if own_UD is None:
        return quality(measure("items", embedding.rank, task, n))

    def rank(users_B: NDArray[np.integer]) -> NDArray[np.float32]:
        states_BD = own_UD[np.searchsorted(task.users_U, users_B)]
        return embedding.scores(np.column_stack([states_BD, np.ones(len(users_B))]).astype("f4"))

    return quality(measure("items", rank, task, n))
