"""Fitting schemas and encoding feature rows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.contract.schema import FeatureSchema
from training.datasets import ColumnConfig, encode, fit_schema

CATEGORICAL = ColumnConfig(kind="categorical")
MULTI = ColumnConfig(kind="multi-categorical", separator="|")
NUMERIC = ColumnConfig(kind="numeric")
TEXT = ColumnConfig(kind="text")
DATE = ColumnConfig(kind="datetime")


def dense(frame: pl.DataFrame | None, schema: FeatureSchema, n_rows: int) -> list[list[float]]:
    matrix = encode(frame, schema, n_rows)
    assert matrix.dtype == np.float32
    assert matrix.shape == (n_rows, schema.width)
    return [[float(v) for v in row] for row in matrix.toarray()]


def test_layout_of_an_encoded_row() -> None:
    """Intercept, presence flags, then the columns' own positions."""
    frame = pl.DataFrame({"color": ["red", "blue", "red", None], "size": [1.0, 3.0, None, 2.0]})
    schema = fit_schema(frame, {"color": CATEGORICAL, "size": NUMERIC})
    spread = float(np.std([1.0, 3.0, 2.0]))
    expected = [
        [1, 1, 1, 1, 0, np.float32(-1 / spread)],
        [1, 1, 1, 0, 1, np.float32(1 / spread)],
        [1, 1, 0, 1, 0, 0],
        [1, 0, 1, 0, 0, 0],
    ]
    assert dense(frame, schema, 4) == expected


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1990.0, 1995.0, 2000.0], NUMERIC),
        ([19.99, 250.0, None], NUMERIC),
        (["1990-01-01", "1995-06-30", "2020-12-31"], DATE),
    ],
)
def test_numbers_far_from_zero_keep_their_spread(values: list[object], column: object) -> None:
    """Years, prices and dates are centred and scaled by all of their values, none cut off."""
    frame = pl.DataFrame({"x": values})
    schema = fit_schema(frame, {"x": column})  # type: ignore[dict-item]
    encoded = [row[-1] for row, v in zip(dense(frame, schema, 3), values, strict=True) if v]
    assert np.mean(encoded) == pytest.approx(0.0, abs=1e-5)
    assert np.std(encoded) == pytest.approx(1.0, abs=1e-5)


def test_statistics_come_from_the_allowed_rows_alone() -> None:
    """A category and a number of a row that is held out leave no trace in the schema."""
    frame = pl.DataFrame({"color": ["red", "blue", "green"], "size": [1.0, 3.0, 1000.0]})
    rows = np.array([True, True, False])
    schema = fit_schema(frame, {"color": CATEGORICAL, "size": NUMERIC}, rows)
    color, size = schema.columns
    assert sorted(color.vocabulary) == ["blue", "red"]
    assert (size.mean, size.scale) == (2.0, 1.0)
    assert dense(frame, schema, 3)[2][:3] == [1, 0, 1]


def test_rows_without_features_have_the_intercept_alone() -> None:
    """No frame, no columns, and rows beyond the frame all encode to the intercept."""
    frame = pl.DataFrame({"color": ["red", "blue"]})
    schema = fit_schema(frame, {"color": CATEGORICAL})
    assert dense(frame, schema, 3)[2] == [1, 0, 0, 0]
    assert dense(None, schema, 1) == [[1, 0, 0, 0]]
    assert fit_schema(None, {}).width == 1
    assert dense(None, FeatureSchema(), 2) == [[1], [1]]


def test_rare_categories_of_a_large_column_are_unknown() -> None:
    """Where there are many categories, one with few rows is not kept; unknown is ordinary."""
    values = [f"c{i % 50}" for i in range(500)] + ["rare"] * 4
    schema = fit_schema(pl.DataFrame({"c": values}), {"c": CATEGORICAL})
    assert len(schema.columns[0].vocabulary) == 50
    assert dense(pl.DataFrame({"c": ["rare"]}), schema, 1) == [[1.0] + [0.0] * 51]


def test_words_of_a_text_are_kept_from_three_rows_on() -> None:
    """Words count once a row, and rarer words weigh more."""
    titles = ["the river", "the garden", "the The river", "the river end"]
    column = fit_schema(pl.DataFrame({"t": titles}), {"t": TEXT}).columns[0]
    assert column.vocabulary == ("the", "river")
    assert column.idf == pytest.approx([1.0, 1 + np.log(5 / 4)])


def test_ignored_and_valueless_columns_are_left_out() -> None:
    """An ignored column, and one without a known value in the rows, take no position."""
    frame = pl.DataFrame({"a": ["x", "y"], "b": ["x", "y"], "c": [None, 1.0]})
    kinds = {"a": ColumnConfig(kind="ignore"), "b": CATEGORICAL, "c": NUMERIC}
    assert fit_schema(frame, kinds, np.array([True, False])).names == ("b",)


def test_lists_and_separated_text_encode_alike() -> None:
    """A list and a string with separators are the same multi-categorical value."""
    schema = fit_schema(pl.DataFrame({"g": ["a|b", "b", "a | b", "b"] * 3}), {"g": MULTI})
    lists = pl.DataFrame({"g": [["a", "b"], ["b"]]})
    assert dense(lists, schema, 2) == dense(pl.DataFrame({"g": ["a|b", "b"]}), schema, 2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y", "z", "", None]),
            st.sampled_from(["a|b", "b|c", "a", "|", None]),
            st.one_of(st.none(), st.integers(-5, 5)),
            st.sampled_from(["The end", "the River", "end of river", None]),
            st.sampled_from(["2020-01-01", "2021-06-01T12:00:00Z", None]),
            st.sampled_from([True, False, None]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_encoding_equals_the_services(rows: list[tuple[object, ...]]) -> None:
    """Column by column, the matrix is what the service's encoder gives row by row."""
    names = ("category", "tags", "number", "text", "date", "truth")
    types = (pl.String, pl.String, pl.Int64, pl.String, pl.String, pl.Boolean)
    frame = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
    kinds = dict(zip(names, (CATEGORICAL, MULTI, NUMERIC, TEXT, DATE, CATEGORICAL), strict=True))
    schema = fit_schema(frame, kinds)
    expected_BF = schema.encode(frame.to_dicts())
    actual_BF = encode(frame, schema, len(frame)).toarray()
    np.testing.assert_array_equal(expected_BF, actual_BF)
