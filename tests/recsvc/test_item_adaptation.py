"""From an item's first interactions to its vector: rounding, padding, the graph."""

from pathlib import Path

import numpy as np
import pytest

from recsvc.bundle import Bundle, load_bundle
from recsvc.item_adaptation import TakenItem, adapt_items, next_exposure, rounded_exposure
from tests.recsvc.bundles import write_world
from tests.recsvc.world_items import by_hand


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    directory: Path = tmp_path_factory.mktemp("world")
    write_world(directory, "v1", adapts_items=True)
    return load_bundle(directory)


def draw(seed: int, size: int) -> TakenItem:
    """An item taken by so many users."""
    rng = np.random.default_rng(seed)
    return TakenItem(
        rng.normal(size=2).astype(np.float32),
        float(rng.normal()),
        rng.normal(size=(size, 2)).astype(np.float32),
        rng.normal(size=size).astype(np.float32),
        int(rng.integers(1, 50)),
    )


def test_a_batch_is_as_its_items(bundle: Bundle) -> None:
    """Supports of any lengths, none included, are adapted together as each by hand."""
    items = [draw(seed, size) for seed, size in enumerate((3, 0, 1, 7))]
    assert bundle.sample_users is not None
    vectors_BD, bias_B = adapt_items(bundle.graphs, bundle.sample_users, items)
    for item, vector_D, bias in zip(items, vectors_BD, bias_B, strict=True):
        expected_D, expected = by_hand(
            item.prior_vector_D, item.prior_bias, item.states_SD, item.offset_S,
            np.ones_like(item.offset_S), item.exposure,
        )  # fmt: skip
        np.testing.assert_allclose(vector_D, expected_D, rtol=1e-5, atol=1e-6)
        assert bias == pytest.approx(expected, rel=1e-5)


def test_exposures_are_rounded_to_steps() -> None:
    """Small ones are exact; later ones keep within an eighth, and never fall."""
    assert [rounded_exposure(n) for n in range(1, 9)] == list(range(1, 9))
    rounded = [rounded_exposure(n) for n in range(1, 20_000)]
    assert rounded == sorted(rounded)
    assert max(abs(r / n - 1) for n, r in enumerate(rounded, start=1)) < 0.125
    assert len(set(rounded)) < 60


def test_the_next_exposure_is_the_first_that_differs() -> None:
    """So an item is looked at again exactly when it has to be adapted again."""
    for n in range(1, 3_000):
        later = next_exposure(n)
        assert rounded_exposure(later) != rounded_exposure(n)
        assert later == n + 1 or rounded_exposure(later - 1) == rounded_exposure(n)
