"""Pooling is chosen by the lists of validation users, and only where it makes them better."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tests.training.worlds import CLUSTER, neighbourhoods_data
from training.methods import ColdUserData, validation_users
from training.pooling import Mass, PoolingChoice, choose_pooling

CLUSTERS = 60
N = CLUSTER * CLUSTERS


@pytest.fixture(scope="module")
def data() -> ColdUserData:
    return neighbourhoods_data(clusters=CLUSTERS)


def vector(support_BS: NDArray[np.int32], features: csr_matrix, n: int) -> NDArray[np.float32]:
    """Scores that know nothing of the support, but differ between items."""
    del features, n
    order_N = np.random.default_rng(5).normal(size=N).astype(np.float32)
    return np.repeat(order_N[None], len(support_BS), axis=0)


def neighbours(support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
    """1 for every item of a neighbourhood that the support names."""
    mass_BN = np.zeros((len(support_BS), N), np.float32)
    for b, support_S in enumerate(support_BS):
        for cluster in support_S // CLUSTER:
            mass_BN[b, cluster * CLUSTER : (cluster + 1) * CLUSTER] = 1.0
    return mass_BN


def noise(support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
    """A mass for items that have nothing to do with the support."""
    rng = np.random.default_rng(7)
    return np.where(rng.random((len(support_BS), N)) < 0.2, 1.0, 0.0).astype(np.float32)


def choose(data: ColdUserData, mass: Mass) -> PoolingChoice:
    return choose_pooling(
        validation_users(data),
        data.candidates_N,
        data.sizes,
        vector,
        mass,
        (1.0,),
    )


def test_a_kernel_that_knows_the_neighbourhood_is_worth_serving(data: ColdUserData) -> None:
    """The vector knows nothing here, the kernel everything: the gain is nearly all there is."""
    choice = choose(data, neighbours)
    assert choice.worth_it
    assert choice.gain > 0.8
    assert choice.users == 100


def test_noise_is_not_worth_serving(data: ColdUserData) -> None:
    """A mass on random items cannot win on users on whom it was not chosen."""
    assert not choose(data, noise).worth_it


def test_the_scale_of_the_mass_does_not_matter(data: ColdUserData) -> None:
    """Weights follow the data: a mass a thousand times larger gives the same lists."""
    plain = choose(data, neighbours)
    larger = choose(data, lambda support_BS: 1000.0 * neighbours(support_BS))
    assert larger.gain == pytest.approx(plain.gain)
    assert larger.pooling.alpha[1] - plain.pooling.alpha[1] == pytest.approx(np.log(1000.0))


def test_every_support_size_has_its_weights(data: ColdUserData) -> None:
    """One alpha and one beta for 0 .. window."""
    pooling = choose(data, neighbours).pooling
    assert len(pooling.alpha) == len(pooling.beta) == data.window + 1
