"""The inverted index finds exactly the rows that a look at every item would find."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsvc.attributes import AttributeIndex
from recsvc.contract.schema import Column, split_tokens

COLUMNS = (
    Column(name="genres", kind="multi-categorical", vocabulary=("a", "b")),
    Column(name="year", kind="numeric"),
)
NAMES = ("genres", "year", "title")

scalars = st.sampled_from(["a", "b", " a", "a|b", "b|a|", "", "3"]) | st.sampled_from(
    [3, 3.0, 3.5, True, -1]
)
values = st.none() | scalars | st.lists(scalars, max_size=3)
rows = st.fixed_dictionaries(dict.fromkeys(NAMES, values))


def found(index: AttributeIndex, pairs: list[tuple[str, Any]], n_rows: int) -> set[int]:
    return set(np.flatnonzero(index.any_of(pairs, n_rows)).tolist())


def has(row: dict[str, Any], column: str, value: Any) -> bool:
    """What the index should say of one row."""
    given_value = row.get(column)
    separator = "|" if column == "genres" else None
    return given_value is not None and (
        split_tokens(value, None)[0] in split_tokens(given_value, separator)
    )


@given(
    trained=st.lists(rows, max_size=5),
    puts=st.lists(st.tuples(st.integers(0, 8), rows), max_size=8),
    pairs=st.lists(st.tuples(st.sampled_from([*NAMES, "no column"]), scalars), max_size=4),
)
def test_it_agrees_with_a_look_at_every_row(
    trained: list[dict[str, Any]],
    puts: list[tuple[int, dict[str, Any]]],
    pairs: list[tuple[str, Any]],
) -> None:
    """After any changes, whatever the values are made of, the rows are the right ones."""
    columns = {name: [row[name] for row in trained] for name in NAMES}
    index = AttributeIndex(COLUMNS, columns, len(trained))
    expected = dict(enumerate(trained))
    for row, features in puts:
        index.put(row, features)
        expected[row] = features
    n_rows = max([len(trained) - 1, *expected]) + 1 if expected else 0
    assert {
        number for number, row in expected.items() if any(has(row, *pair) for pair in pairs)
    } == found(index, pairs, n_rows)


def test_a_catalogue_without_attributes_matches_nothing() -> None:
    """No columns, no rows: no match, no error."""
    assert found(AttributeIndex((), {}, 0), [("title", "x")], 3) == set()
    assert found(AttributeIndex((), {"title": [None, None]}, 2), [("title", "x")], 2) == set()
