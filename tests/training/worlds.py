"""Small worlds with known right answers, for tests of training."""

import numpy as np
from scipy.sparse import csr_matrix

from training.methods import ColdUserData
from training.tasks import Histories, from_pairs

GROUP = 20
"""Items of each taste."""


def checkerboard(users: int, per_user: int, seed: int) -> Histories:
    """Two tastes: even users take only items 0 .. 19, odd users only items 20 .. 39."""
    rng = np.random.default_rng(seed)
    picks = [rng.permutation(GROUP)[:per_user] + GROUP * (u % 2) for u in range(users)]
    return from_pairs(
        np.repeat(np.arange(users), per_user), np.concatenate(picks), users, 2 * GROUP
    )


def checkerboard_data(seed: int = 0, users: int = 200) -> ColdUserData:
    """The checkerboard split for training; no features."""
    train, validation = checkerboard(users, 12, seed), checkerboard(20, 12, seed + 1)
    return ColdUserData(
        train=train,
        train_features=csr_matrix(np.ones((users, 1), np.float32)),
        validation=validation,
        validation_features=csr_matrix(np.ones((20, 1), np.float32)),
        window=3,
        sizes=(0, 1, 2, 3),
        candidates_N=np.ones(2 * GROUP, np.bool_),
        item_features=None,
        seed=seed,
    )


CLUSTER = 5
"""Items of each neighbourhood."""


def neighbourhoods(users: int, clusters: int, seed: int) -> Histories:
    """Sparse data: every user takes all items of one small neighbourhood out of many, shuffled.

    A few dimensions cannot hold so many neighbourhoods; pairs of items can.
    """
    rng = np.random.default_rng(seed)
    first = CLUSTER * rng.integers(0, clusters, users)
    picks = [start + rng.permutation(CLUSTER) for start in first]
    return from_pairs(
        np.repeat(np.arange(users), CLUSTER), np.concatenate(picks), users, CLUSTER * clusters
    )


def neighbourhoods_data(users: int = 600, clusters: int = 60, seed: int = 0) -> ColdUserData:
    """The neighbourhoods split for training; no features."""
    train = neighbourhoods(users, clusters, seed)
    validation = neighbourhoods(100, clusters, seed + 1)
    return ColdUserData(
        train=train,
        train_features=csr_matrix(np.ones((users, 1), np.float32)),
        validation=validation,
        validation_features=csr_matrix(np.ones((100, 1), np.float32)),
        window=3,
        sizes=(0, 1, 2, 3),
        candidates_N=train.counts() > 0,
        item_features=None,
        seed=seed,
    )
