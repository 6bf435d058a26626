"""The served model: a kernel joins the vector where it helps, and only there."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsvc.contract.pooling import kernel_mass, pooled
from tests.training.worlds import CLUSTER, neighbourhoods_data
from training.kernel.train import KernelConfig
from training.outer_loop import TrainConfig
from training.served import ServedModel, ServedScorer, train_served

VECTOR = TrainConfig(dims=4, max_epochs=2, device="cpu")
KERNEL = KernelConfig(max_epochs=4)
NO_FEATURES = csr_matrix(np.ones((1, 1), np.float32))


@pytest.fixture(scope="module")
def served() -> ServedModel:
    """Trained on neighbourhoods that four dimensions cannot hold."""
    return train_served(neighbourhoods_data(), VECTOR, KERNEL)


def test_on_sparse_data_the_kernel_is_kept_and_says_why(served: ServedModel) -> None:
    """The decision names the gain, its error and the users it was measured on."""
    assert served.kernel is not None
    assert served.decision.startswith("pooled, theta ")
    assert "standard error" in served.decision
    assert "100 validation users" in served.decision


def test_one_click_brings_up_its_neighbourhood(served: ServedModel) -> None:
    """The four other items of the clicked item's neighbourhood lead the list."""
    scores_N = ServedScorer(served).score(np.array([[37]], np.int32), NO_FEATURES, 1)[0]
    scores_N[37] = -np.inf
    first = 37 // CLUSTER * CLUSTER
    assert set(np.argsort(-scores_N)[:4].tolist()) == set(range(first, first + CLUSTER)) - {37}


def test_the_served_score_is_the_contract_s(served: ServedModel) -> None:
    """Vector scores pooled with the mass of the support, as the service computes them."""
    assert served.kernel is not None
    support = np.array([[12, 40, 41]], np.int32)
    vector = ServedScorer(replace(served, kernel=None)).score(support, NO_FEATURES, 3)[0]
    edges, pooling = served.kernel.kernel
    rows = served.rows_N[support[0]]
    mass_M = kernel_mass(edges, rows, np.ones(3, np.float32), pooling)
    expected_M = pooled(vector[served.trained.codes_M], mass_M, 3, pooling)
    found = ServedScorer(served).score(support, NO_FEATURES, 3)[0]
    np.testing.assert_allclose(found[served.trained.codes_M], expected_M, rtol=1e-6)


def test_with_few_validation_users_there_is_no_kernel() -> None:
    """Nobody to decide by: the vector alone, and the manifest says so."""
    data = neighbourhoods_data()
    few = data.validation.take(np.arange(5))
    data = replace(data, validation=few, validation_features=data.validation_features[:5])
    model = train_served(data, VECTOR, KERNEL)
    assert model.kernel is None
    assert "5 validation users" in model.decision


def test_a_kernel_that_is_not_asked_for_is_not_trained() -> None:
    """None as the kernel's settings: the vector alone."""
    model = train_served(neighbourhoods_data(), VECTOR, None)
    assert model.kernel is None
    assert model.decision == "none: not asked for"
