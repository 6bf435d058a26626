"""Learn how new items behave in a trained model's space.

Knows nothing of files or of how the model was trained.

Shape legend: U training users, M sample users, I trained items, P = D + 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsvc.contract.schema import FeatureSchema
from training.item_prior import ItemPrior
from training.items.prior import fit_prior, score_root
from training.items.states import (
    MAX_SUPPORT,
    SAMPLE_USERS,
    item_vectors,
    sample_by_events,
    user_states,
)
from training.methods import ColdUserData
from training.outer_loop import Trained
from training.posterior import ItemAdaptation, PosteriorParameters

_LEAST = 20
"""Trained items and training users below which items keep what their content says."""
_EXPOSURE_WEIGHT = 0.5
"""Between the 0.3 and 0.7 that are best on ML-1M, where nothing better is known."""


@dataclass(frozen=True, slots=True)
class LearnedItems:
    """For the bundle."""

    prior: ItemPrior
    adaptation: ItemAdaptation | None
    decision: str
    """What was chosen and why."""


def learn_items(
    data: ColdUserData, trained: Trained, rows_N: NDArray[np.int64], schema: FeatureSchema
) -> LearnedItems:
    """Fit the content prior and what adapting needs.

    Args:
        data: what the model was trained on.
        trained: the model.
        rows_N: its row of every item code, -1 where it has none.
        schema: layout of the items' features.
    """
    states = user_states(trained, rows_N, data.train, data.train_features)
    rng = np.random.default_rng([data.seed, 5])
    chosen_M = sample_by_events(data.train.lengths_U, SAMPLE_USERS, rng)
    sample = states.take(chosen_M)
    prior = fit_prior(
        trained.item_features,
        schema,
        np.column_stack(item_vectors(trained)),
        data.train.counts()[trained.codes_M],
        score_root(sample.states_UD),
        rng,
    )
    fewest = min(len(trained.codes_M), data.train.n_users)
    if fewest < _LEAST:
        reason = (
            f"none: {len(trained.codes_M)} trained items and {data.train.n_users} training users; "
            f"it takes {_LEAST} of each"
        )
        return LearnedItems(prior.module(), None, reason)
    parameters = PosteriorParameters(
        root_PP=torch.as_tensor(prior.root_PP, dtype=torch.float32),
        exposure_weight=torch.tensor(_EXPOSURE_WEIGHT),
        first_event=torch.tensor(1.0),
    )
    return LearnedItems(
        prior.module(),
        ItemAdaptation(parameters, sample.states_UD, sample.offset_U, MAX_SUPPORT),
        f"posterior steps with exposure weight {_EXPOSURE_WEIGHT:g}, not chosen on this data",
    )
