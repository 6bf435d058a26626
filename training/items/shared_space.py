"""The space of a trained model, and new items in it: prior from content, then posterior steps.

Knows nothing of splits, protocols or files.

Shape legend: U users, M sample users, N item codes, I new items, S support rows, D dims, P = D + 1
(vector and bias).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.schema import FeatureSchema
from training.inner_loop import adapt
from training.items.embedding import Embedding
from training.items.prior import FittedPrior, fit_prior, score_root
from training.items.states import (
    SAMPLE_USERS,
    UserStates,
    item_vectors,
    sample_by_events,
    user_states,
)
from training.items.task import ItemSupports
from training.outer_loop import Trained
from training.posterior import PosteriorParameters, adapt_items
from training.tasks import PADDING, Histories

_POPULAR = 0.002
_UNKNOWN_BIAS = -30.0
"""Of items that the model never saw and that are not new either."""


@dataclass(frozen=True, slots=True)
class ItemSettings:
    """What is chosen on held-out items, for all support sizes together."""

    scale: float = 1.0
    """Stretches content's vectors from the mean of the trained ones."""
    offset: float = 0.0
    """Added to every new item's bias, whatever its support: how much more they are asked for than
    trained items that a user has not taken so far, at the same rate of being taken."""
    exposure_weight: float = 1.0
    """See `PosteriorParameters`."""
    burst: float = 100.0
    """See `PosteriorParameters`, in events."""
    spread: float = 1.0
    """How unsure the bias is, beside what leave-one-out errors say."""
    from_first: float = 1.0
    """1: exposure counts from an item's first interaction; 0: from the first of the data."""


@dataclass(frozen=True, eq=False)
class SharedSpace:
    """Users, trained items, and what content says of every item."""

    trained: Trained
    states: UserStates
    """Of all users by code, from their training interactions."""
    sample: UserStates
    theta_NP: NDArray[np.float32]
    """Trained items by code; others' biases are the lowest."""
    prior: FittedPrior
    prior_NP: NDArray[np.float32]
    """Of every item code, not calibrated."""

    @cached_property
    def ceiling(self) -> float:
        """Log of the mean chance over sample users that `_POPULAR` of the trained items exceed."""
        theta_MP = self.theta_NP[self.theta_NP[:, -1] > _UNKNOWN_BIAS]
        score_UM = self.sample.states_UD @ theta_MP[:, :-1].T + theta_MP[:, -1]
        chance_M = np.exp(score_UM - self.sample.offset_U[:, None]).mean(axis=0)
        return float(np.log(np.quantile(chance_M, 1.0 - _POPULAR)))

    def parameters(self, settings: ItemSettings) -> PosteriorParameters:
        """What adapting takes, by settings."""
        root_PP = self.prior.root_PP.copy()
        root_PP[-1] *= settings.spread
        return PosteriorParameters(
            root_PP=torch.as_tensor(root_PP, dtype=torch.float32),
            exposure_weight=torch.tensor(settings.exposure_weight),
            burst=torch.tensor(settings.burst),
            first_event=torch.tensor(settings.from_first),
            ceiling=torch.tensor(self.ceiling),
            offset=torch.tensor(settings.offset),
        )

    def adapted(self, supports: ItemSupports, settings: ItemSettings) -> NDArray[np.float32]:
        """New items after their supports, (I, P)."""
        stretch_P = np.append(np.full(self.theta_NP.shape[1] - 1, settings.scale), 1.0)
        apart_IP = self.prior_NP[supports.items_I] - self.prior.mean_P
        prior_IP = self.prior.mean_P + stretch_P * apart_IP
        prior_IP[:, -1] += settings.offset
        states_ISD = supports.states_ISD
        if states_ISD is None:
            states_ISD = self.states.states_UD[np.maximum(supports.users_IS, 0)]
        with torch.no_grad():
            adapted_IP = adapt_items(
                torch.as_tensor(prior_IP, dtype=torch.float32),
                torch.as_tensor(states_ISD),
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
        users_UP = np.concatenate([states_UD, ones_U1], axis=1)
        return Embedding(users_UP, theta_NP, cold_N, fold_in=self.fold_in)

    def fold_in(
        self, items_NP: NDArray[np.float32], support_BS: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """States of users without features from items that are trained or adapted, then a 1."""
        model, codes_M = self.trained.model, self.trained.codes_M
        with torch.no_grad():
            vectors_ND = torch.as_tensor(items_NP[:, :-1].copy())  # new items as they are scored
            vectors_ND[codes_M] = model.inner_vectors(torch.as_tensor(self.theta_NP[codes_M, :-1]))
            item_BS = np.maximum(support_BS, 0)
            weight_BS = torch.as_tensor((support_BS != PADDING).astype(np.float32))
            state_BD = adapt(
                prior_BD=model.user_prior(nobody(len(support_BS), model.config.user_features)),
                support_vectors_BSD=vectors_ND[item_BS],
                support_bias_BS=torch.as_tensor(items_NP[item_BS, -1]),
                support_label_BS=torch.ones_like(weight_BS),
                support_weight_BS=weight_BS,
                steps=torch.tensor(model.config.steps),
                catalogue_vectors_MD=vectors_ND[codes_M],
                catalogue_bias_M=model.bias_N,
                parameters=model.inner,
            )
        return torch.cat([state_BD, torch.ones(len(state_BD), 1)], dim=1).numpy()


def nobody(users: int, features: int) -> torch.Tensor:
    """Encoded rows of users who say nothing: the intercept alone, (B, F)."""
    rows_BF = torch.zeros(users, features)
    rows_BF[:, 0] = 1.0
    return rows_BF


def shared_space(
    trained: Trained,
    rows_N: NDArray[np.int64],
    histories: Histories,
    user_features: csr_matrix,
    item_features: csr_matrix,
    schema: FeatureSchema,
    rng: np.random.Generator,
    block_weights: Mapping[str, float] | None = None,
    sample: UserStates | None = None,
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
        sample: states of users at some events; None: users as they are today, drawn by their share
            of the events.
    """
    states = user_states(trained, rows_N, histories, user_features)
    sample = sample or states.take(sample_by_events(histories.lengths_U, SAMPLE_USERS, rng))
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
    return SharedSpace(trained, states, sample, theta_NP, prior, prior.module().of(item_features))
