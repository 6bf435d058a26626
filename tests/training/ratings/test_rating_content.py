"""Feature columns as blocks, and what content says of levels."""

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from training.datasets.dataset import ColumnConfig
from training.ratings.content import blocks, year_of
from training.ratings.knowledge import narrow
from training.ratings.side import by_block, fit_content, ridge, taste_vectors
from training.ratings.tasks import RatingData, RatingTable

COLUMNS = {
    "title": ColumnConfig(kind="text"),
    "genres": ColumnConfig(kind="multi-categorical"),
    "length": ColumnConfig(kind="numeric"),
}


def films() -> pl.DataFrame:
    n = np.arange(40)
    return pl.DataFrame(
        {
            "title": [f"Film ({1960 + i})" for i in n],
            "genres": [("drama|war", "comedy")[i % 2] for i in n],
            "length": [None if i == 3 else 60.0 + 3 * i for i in n],
        }
    )


def test_rows_have_unit_length_and_missing_ones_are_zero() -> None:
    """One block a column, the year of the title included."""
    found = blocks(films(), COLUMNS, np.ones(42, dtype=bool))
    assert found.names == ("title", "genres", "length", "title (year)")
    for name, matrix in zip(found.names, found.matrices, strict=True):
        length = np.sqrt(matrix.multiply(matrix).sum(axis=1).A1)
        expected = np.ones(42)
        expected[40:] = 0.0
        if name == "length":
            expected[3] = 0.0
        assert length == pytest.approx(expected)


def test_near_numbers_are_alike() -> None:
    """Neighbouring years share hats, distant ones do not, and large numbers are no exception."""
    years = blocks(films(), COLUMNS, np.ones(40, dtype=bool)).matrices[3].toarray()
    assert years[0] @ years[1] > 0.9
    assert years[0] @ years[39] == pytest.approx(0.0)


def test_statistics_come_from_training_rows_alone() -> None:
    """A word, a category and a knot that only held-out rows have are unknown."""
    rows = np.arange(40) < 30
    before = blocks(films(), COLUMNS, rows)
    changed = films().with_columns(
        pl.Series("genres", [*films()["genres"][:30], *["western"] * 10]),
        pl.Series("length", [*films()["length"][:30], *[9_000.0] * 10]),
    )
    after = blocks(changed, COLUMNS, rows)
    for old, new in zip(before.matrices, after.matrices, strict=True):
        assert old.shape == new.shape
        assert np.array_equal(old[:30].toarray(), new[:30].toarray())


@pytest.mark.parametrize(("text", "year"), [("Heat (1995)", 1995), ("1984", None), (None, None)])
def test_the_year_ends_the_title_in_parentheses(text: object, year: int | None) -> None:
    """Other numbers are no year."""
    assert year == year_of(text)


def genre_levels() -> RatingData:
    """Forty films rated by ten users; the genre alone decides the level."""
    items = blocks(films(), COLUMNS, np.arange(40) < 30)
    user, item = (a.ravel() for a in np.mgrid[:10, :30])
    rating = np.where(item % 2 == 0, 4.0, 2.0)
    users = blocks(None, {}, np.ones(10, dtype=bool))
    return RatingData(RatingTable(user, item, rating), users, items, 0)


def test_content_predicts_the_level_of_a_cold_item() -> None:
    """The block that decides gets weight, and items without ratings get their genre's level."""
    data = genre_levels()
    level = np.where(np.arange(40) % 2 == 0, 1.0, -1.0) * (data.counts_N > 0)
    regression = fit_content(data, level, seed=0)
    cold = np.arange(30, 40)
    predicted = regression.predict(level[:, None], cold)[:, 0]
    assert predicted == pytest.approx(np.where(cold % 2 == 0, 1.0, -1.0), abs=0.25)
    parts = by_block(regression, level, cold)
    assert parts.sum(axis=0) == pytest.approx(predicted)
    genres = 1 + data.items.names.index("genres")
    assert np.abs(parts[genres]).mean() > 0.8 * np.abs(parts[1:]).sum(axis=0).mean()


def test_ridge_leaves_the_intercept_free() -> None:
    """A constant is found whatever the strength."""
    inputs = np.random.default_rng(0).standard_normal((50, 3))
    found = ridge(inputs, np.full((50, 1), 7.0), 1e6)
    assert found[0] == pytest.approx([7.0], abs=1e-3)


def test_taste_separates_who_rates_what() -> None:
    """Two groups who rate different films: films of one group point the same way."""
    user, item = (a.ravel() for a in np.mgrid[:20, :20])
    own = (user < 10) == (item < 10)
    users = blocks(None, {}, np.ones(20, dtype=bool))
    items = blocks(None, {}, np.ones(20, dtype=bool))
    table = RatingTable(user[own], item[own], np.ones(int(own.sum())))
    vectors = taste_vectors(RatingData(table, users, items, 0), 2)
    alike = vectors @ vectors.T
    assert abs(alike[0, 5]) > 0.05
    assert alike[0, 15] == pytest.approx(0.0, abs=1e-9)


def test_narrowing_learns_from_known_items_alone() -> None:
    """A wide column is projected onto what known items hold; a held-out item changes nothing."""
    rng = np.random.default_rng(0)
    wide = csr_matrix((rng.random((100, 90)) < 0.1).astype(float))
    known = np.arange(100) < 80
    changed = wide.tolil()
    changed[99] = 1.0
    found = narrow(wide, known, 0)
    assert found.shape == (100, 64)
    assert narrow(csr_matrix(changed), known, 0)[:99] == pytest.approx(found[:99])
