"""Low ratings: which rows they are, and which of them came before the n-th positive."""

from pathlib import Path

import numpy as np
import pytest

from training.datasets import Dataset, load
from training.low_ratings import low_ratings

ROWS = """user_id,item_id,rating,timestamp
a,p1,5,1577836800
a,l1,1,1577836801
a,p2,4,1577836802
a,l2,2,1577836803
a,l1,2,1577836804
a,p1,1,1577836805
a,p3,5,1577836806
b,l1,3,1577836800
b,p1,5,1577836801
c,p1,5,1577836800
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    (tmp_path / "interactions.csv").write_text(ROWS)
    return load(tmp_path)


def names(dataset: Dataset, codes: list[int]) -> list[str]:
    return [dataset.item_ids[code] for code in codes if code >= 0]


def test_low_ratings_are_counted_by_the_positives_before_them(dataset: Dataset) -> None:
    """Each item once, at its first low rating; an item that was ever a positive is not low."""
    found = low_ratings(dataset)
    assert names(dataset, found.item_E.tolist()) == ["l1", "l2", "l1"]
    assert found.after_E.tolist() == [1, 2, 0]
    assert found.value_E.tolist() == [1.0, 2.0, 3.0]
    assert found.indptr_U1.tolist() == [0, 2, 3, 3]


@pytest.mark.parametrize(
    ("n", "expected"),
    [(0, [[], [], []]), (1, [[], ["l1"], []]), (2, [["l1"], ["l1"], []]), (9, None)],
)
def test_a_support_holds_what_came_before_its_last_positive(
    dataset: Dataset, n: int, expected: list[list[str]] | None
) -> None:
    """Nothing is known at n = 0; at n what was rated low before the n-th positive."""
    items, values = low_ratings(dataset).before(n)
    assert items.shape == values.shape
    assert ((items >= 0) == (values > 0)).all()
    if expected is None:
        expected = [["l1", "l2"], ["l1"], []]
    assert [names(dataset, row) for row in items.tolist()] == expected


def test_users_are_taken_in_the_order_given(dataset: Dataset) -> None:
    """As histories are."""
    found = low_ratings(dataset).take(np.array([1, 0]))
    assert names(dataset, found.before(9)[0][0].tolist()) == ["l1"]
    assert found.value_E.tolist() == [3.0, 1.0, 2.0]


def test_data_without_values_has_none(tmp_path: Path) -> None:
    """Every interaction is a positive."""
    (tmp_path / "interactions.csv").write_text("user_id,item_id\na,1\nb,2\n")
    assert low_ratings(load(tmp_path)).before(5)[0].shape == (2, 0)
