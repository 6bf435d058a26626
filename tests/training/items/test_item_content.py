"""Content ridge: known answers, leave-one-out errors, and which columns get weight."""

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsvc.contract.schema import Column, FeatureSchema
from training.datasets import encode
from training.items.content import Block, ContentRidge, expand, noise_of

BLOCKS = [Block("useful", slice(0, 3)), Block("noise", slice(3, 9))]


def world(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """120 items; the target is linear in the first block and knows nothing of the second."""
    rng = np.random.default_rng(seed)
    features_NE = rng.normal(size=(120, 9))
    map_ED = np.zeros((9, 2))
    map_ED[:3] = rng.normal(size=(3, 2))
    return features_NE, features_NE @ map_ED + 0.1 * rng.normal(size=(120, 2)) + 5.0


def test_unseen_items_are_predicted_and_the_useful_block_leads() -> None:
    """Nearly all variance of new items is explained; the block of noise is all but left out."""
    features_NE, targets_ND = world()
    warm = np.arange(80)
    ridge = ContentRidge(features_NE, BLOCKS, warm)
    weights = ridge.choose_weights(targets_ND[warm], np.random.default_rng(0))
    prior = ridge.fit(targets_ND[warm], weights)
    error_ND = prior.predict(features_NE[80:]) - targets_ND[80:]
    assert (error_ND**2).mean() < 0.05 * targets_ND[80:].var()
    assert weights["useful"] > 10 * weights["noise"]


def test_residuals_are_of_fits_without_the_item() -> None:
    """The closed form equals fitting again without each item, weights and centre kept."""
    features_NE, targets_ND = world(1)
    warm = np.arange(25)
    ridge = ContentRidge(features_NE, BLOCKS, warm)
    noise = np.linspace(0.5, 2.0, 25)
    weights = {"useful": 0.7, "noise": 0.2}
    prior = ridge.fit(targets_ND[warm], weights, noise)
    centred = features_NE[warm] - features_NE[warm].mean(axis=0)
    kernel = np.full((25, 25), 10.0)
    for block in BLOCKS:
        own = centred[:, block.columns]
        kernel += weights[block.name] * (own @ own.T) / (own**2).sum(axis=1).mean()
    for left_out in (0, 7, 24):
        rest = np.setdiff1d(warm, left_out)
        dual = np.linalg.solve(kernel[np.ix_(rest, rest)] + np.diag(noise[rest]), targets_ND[rest])
        wanted = targets_ND[left_out] - kernel[left_out, rest] @ dual
        assert prior.residual_WD[left_out] == pytest.approx(wanted, abs=1e-3)


def test_without_features_everything_is_the_mean() -> None:
    """No column: each item is predicted as the (hardly shrunk) mean of the warm ones."""
    targets_ND = np.arange(40.0)[:, None]
    ridge = ContentRidge(np.zeros((50, 0)), [], np.arange(40))
    assert ridge.choose_weights(targets_ND, np.random.default_rng(0)) == {}
    prior = ridge.fit(targets_ND, {})
    assert prior.predict(np.zeros((3, 0)))[:, 0] == pytest.approx([19.5] * 3, rel=0.01)


def test_numbers_are_spread_over_bumps() -> None:
    """A numeric column becomes a bump near its value; a missing one becomes zeros."""
    frame = pl.DataFrame({"year": [1990.0, 2000.0, None], "kind": ["a", "b", "a"]})
    year = Column(name="year", kind="numeric", mean=1995.0, scale=5.0)
    kind = Column(name="kind", kind="categorical", vocabulary=("a", "b"))
    schema = FeatureSchema(columns=(year, kind))
    expanded_RE, blocks = expand(encode(frame, schema, 3), schema)
    assert [b.name for b in blocks] == ["year", "kind"]
    years_RE = expanded_RE[:, blocks[0].columns]
    assert years_RE[0].max() == pytest.approx(1.0, abs=0.1)
    assert years_RE[0].argmax() < years_RE[1].argmax()
    assert not years_RE[2].any()
    assert expanded_RE[:, blocks[1].columns].tolist() == [[1, 0], [0, 1], [1, 0]]


def test_word_vectors_beside_tokens_are_a_block_of_their_own() -> None:
    """A column of both has two blocks in the order of its positions; of vectors alone, one."""
    tokens = {"vocabulary": ("ship", "court"), "idf": (1.0, 1.0)}
    both = Column(name="plot", kind="text", centre=(0.0,) * 3, **tokens)
    alone = Column(name="about", kind="text", centre=(0.0,) * 4)
    schema = FeatureSchema(columns=(both, alone))
    encoded = csr_matrix(np.arange(24.0, dtype=np.float32).reshape(2, 12))
    expanded_RE, blocks = expand(encoded, schema)
    assert [(b.name, b.column) for b in blocks] == [
        ("plot", "plot"),
        ("plot, word vectors", "plot"),
        ("about", "about"),
    ]
    assert [b.columns for b in blocks] == [slice(0, 2), slice(2, 5), slice(5, 9)]
    np.testing.assert_array_equal(expanded_RE, encoded.toarray()[:, 3:])


def test_known_items_have_less_noise() -> None:
    """The median item's variance is near 2, and it falls with the count within bounds."""
    noise = noise_of(np.array([1, 10, 1000]))
    assert noise[1] == pytest.approx(2.0, rel=0.1)
    assert noise[0] > noise[1] > noise[2] > 0.3
