"""States of training users: what items adapt to.

Knows nothing of items' content or of how items adapt.

Shape legend: U users, M sample users, N item codes, I rows of the model, K some events, F feature
positions, D dims, S support rows.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.manifest import MAX_OTHER_ITEMS
from training.algorithms.maml import adapted_states
from training.items.events import Events
from training.outer_loop import Trained
from training.tasks import PADDING, Histories

MAX_SUPPORT = 50
"""Most recent positives of a user that make their state, as the service takes them for lists."""
SAMPLE_USERS = 1024
_BLOCK_USERS = 256


@dataclass(frozen=True)
class UserStates:
    """Adapted states, and what each user's chances are relative to."""

    states_UD: NDArray[np.float32]
    offset_U: NDArray[np.float32]
    """Log of the summed exponentials of all trained items' scores."""

    def take(self, users: NDArray[np.integer]) -> "UserStates":
        """Those of some users."""
        return UserStates(self.states_UD[users], self.offset_U[users])


def item_vectors(trained: Trained) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors (I, D) and biases (I,) of the trained items."""
    with torch.no_grad():
        vectors_ID = trained.model.item_vectors(torch.as_tensor(trained.item_features.toarray()))
    return vectors_ID.numpy(), trained.model.bias_N.detach().numpy()


def user_states(
    trained: Trained, rows_N: NDArray[np.int64], histories: Histories, features: csr_matrix
) -> UserStates:
    """States from each user's most recent positives among the trained items.

    Args:
        trained: the model.
        rows_N: row of every item code, -1 where it has none.
        histories: over item codes.
        features: (U, F) encoded users.
    """
    lengths_U = histories.lengths_U
    recent = histories.prefix(np.maximum(lengths_U - MAX_SUPPORT, 0), lengths_U)
    codes_US = recent.padded(MAX_SUPPORT)
    return _states(trained, np.where(codes_US >= 0, rows_N[codes_US], PADDING), features)


def states_before(
    trained: Trained,
    rows_N: NDArray[np.int64],
    events: Events,
    at_K: NDArray[np.integer],
    blank_F: NDArray[np.float32],
) -> UserStates:
    """States of users just before some of their events, as the service makes them of what it keeps:
    from the last trained items before, without features.

    Args:
        trained: the model.
        rows_N: row of every item code, -1 where it has none.
        events: of the training users, in order of time.
        at_K: places of the events.
        blank_F: encoded user of whom nothing is known.
    """
    places = events.by_user(rows_N >= 0)
    key = events.user_E[places] * len(events.item_E) + places
    user_K = events.user_E[at_K]
    first_K = np.searchsorted(key, user_K * len(events.item_E))
    end_K = np.searchsorted(key, user_K * len(events.item_E) + at_K)
    at_KS = end_K[:, None] - 1 - np.arange(MAX_OTHER_ITEMS)
    is_own_KS = at_KS >= first_K[:, None]
    rows_KS = np.full(at_KS.shape, PADDING, dtype=np.int64)
    rows_KS[is_own_KS] = rows_N[events.item_E[places[at_KS[is_own_KS]]]]
    return _states(trained, rows_KS, csr_matrix(np.tile(blank_F, (len(at_K), 1))))


def _states(trained: Trained, rows_US: NDArray[np.int64], features: csr_matrix) -> UserStates:
    model = trained.model
    vectors_ID = torch.as_tensor(item_vectors(trained)[0])
    # Made at once: a result that is kept between the blocks' large ones would split their memory.
    states_UD = torch.empty(len(rows_US), model.config.dims)
    offset_U = torch.empty(len(rows_US))
    with torch.no_grad():
        inner_ID = model.inner_vectors(vectors_ID)
        for start in range(0, len(rows_US), _BLOCK_USERS):
            block = slice(start, start + _BLOCK_USERS)
            state_BD = adapted_states(
                model,
                torch.as_tensor(features[block].toarray(), dtype=torch.float32),
                torch.as_tensor(rows_US[block]),
                inner_ID,
            )
            states_UD[block] = state_BD
            offset_U[block] = torch.logsumexp(state_BD @ vectors_ID.T + model.bias_N, dim=1)
    return UserStates(states_UD.numpy(), offset_U.numpy())


def sample_by_events(
    lengths_U: NDArray[np.integer], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """User rows, each as often as it has a share of all events; evenly spread, so little varies.

    Args:
        lengths_U: events of every user.
        count: M.
        rng: where the spread begins.
    """
    ends_U = np.cumsum(lengths_U)
    at_M = (np.arange(count) + rng.random()) / count * ends_U[-1]
    users_M: NDArray[np.int64] = np.searchsorted(ends_U, at_M, side="right").astype(np.int64)
    return users_M
