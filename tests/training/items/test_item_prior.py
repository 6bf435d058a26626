"""The content prior in the users' space: what it predicts, and how unsure it says it is."""

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.schema import FeatureSchema
from training.datasets import ColumnConfig, encode, fit_schema
from training.items.prior import FittedPrior, fit_prior, score_root

N, D = 400, 4
COLUMNS = {"kind": ColumnConfig(kind="categorical"), "year": ColumnConfig(kind="numeric")}


@pytest.fixture(scope="module")
def world() -> tuple[csr_matrix, FeatureSchema, NDArray[np.float64], pl.DataFrame]:
    """Vectors by kind, biases by a bump over the years; the first direction is noise besides."""
    rng = np.random.default_rng(0)
    kind, year = rng.integers(0, 5, N), rng.uniform(1950, 2000, N)
    theta_NP = 0.05 * rng.normal(size=(N, D + 1))
    theta_NP[:, :D] += rng.normal(size=(5, D))[kind]
    theta_NP[:, 0] += rng.normal(size=N)
    theta_NP[:, -1] += 3.0 * np.exp(-(((year - 1975) / 8) ** 2))
    frame = pl.DataFrame({"kind": [f"k{k}" for k in kind], "year": year})
    schema = fit_schema(frame, COLUMNS)
    return encode(frame, schema, N), schema, theta_NP, frame


@pytest.fixture(scope="module")
def fitted(
    world: tuple[csr_matrix, FeatureSchema, NDArray[np.float64], pl.DataFrame],
) -> FittedPrior:
    features, schema, theta_NP, _ = world
    states_MD = np.random.default_rng(1).normal(size=(50, D))
    head = slice(0, 300)
    return fit_prior(
        features[head],
        schema,
        theta_NP[head],
        np.full(300, 40),
        score_root(states_MD),
        np.random.default_rng(2),
    )


def said(fitted: FittedPrior, features: csr_matrix) -> NDArray[np.float32]:
    with torch.no_grad():
        vectors, bias = fitted.module()(torch.as_tensor(features.toarray()).float())
    return np.column_stack([vectors.numpy(), bias.numpy()])


def test_new_items_are_predicted(
    fitted: FittedPrior, world: tuple[csr_matrix, FeatureSchema, NDArray[np.float64], pl.DataFrame]
) -> None:
    """Items that it never saw: the category and the bump over the years explain them."""
    features, _, theta_NP, _ = world
    error = (said(fitted, features[300:]) - theta_NP[300:])[:, 1:]
    assert (error**2).mean() < 0.1 * theta_NP[300:, 1:].var(axis=0).mean()


def test_unsure_where_content_says_nothing(fitted: FittedPrior) -> None:
    """The direction that is noise has by far the largest variance."""
    variance_P = (fitted.root_PP**2).sum(axis=1)
    assert variance_P.argmax() == 0
    assert variance_P[0] > 5 * variance_P[1:].max()


def test_a_missing_column_is_the_average_one(
    fitted: FittedPrior, world: tuple[csr_matrix, FeatureSchema, NDArray[np.float64], pl.DataFrame]
) -> None:
    """An item that says nothing gets the mean prediction of those that were learned from."""
    features, schema, _, _ = world
    nothing = encode(pl.DataFrame({"kind": [None], "year": [None]}), schema, 1)
    mean_P = said(fitted, features[:300]).mean(axis=0)
    np.testing.assert_allclose(said(fitted, nothing)[0], mean_P, atol=1e-3)


def test_calibration_stretches_vectors_and_moves_biases(
    fitted: FittedPrior, world: tuple[csr_matrix, FeatureSchema, NDArray[np.float64], pl.DataFrame]
) -> None:
    """Twice as far from the mean vector, and half a unit up."""
    rows = torch.as_tensor(world[0][:7].toarray()).float()
    with torch.no_grad():
        vectors, bias = fitted.module()(rows)
        stretched, moved = fitted.module(scale=2.0, offset=0.5)(rows)
    mean = torch.as_tensor(fitted.mean_P[:-1], dtype=torch.float32)
    torch.testing.assert_close(stretched - mean, 2.0 * (vectors - mean), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved, bias + 0.5)


def test_a_handful_of_items_says_nothing_of_content() -> None:
    """Below ten items the prior is their mean, whatever the columns hold."""
    frame = pl.DataFrame({"kind": ["a", "b", "a"], "year": [1.0, 2.0, 3.0]})
    schema = fit_schema(frame, COLUMNS)
    theta_IP = np.arange(6.0).reshape(3, 2)
    prior = fit_prior(
        encode(frame, schema, 3),
        schema,
        theta_IP,
        np.full(3, 9),
        np.eye(2),
        np.random.default_rng(0),
    )
    answers = said(prior, encode(frame, schema, 3))
    assert np.ptp(answers, axis=0) == pytest.approx([0.0, 0.0], abs=1e-6)
