"""What a feature schema does not know of raw values."""

import pytest

from recsvc.contract.errors import SchemaError
from recsvc.contract.schema import Column, FeatureSchema

SCHEMA = FeatureSchema(
    columns=(
        Column(name="colour", kind="categorical", vocabulary=("black", "3")),
        Column(name="tags", kind="multi-categorical", separator="|", vocabulary=("even", "odd")),
        Column(name="text", kind="text", vocabulary=("word",), idf=(1.0,)),
        Column(name="year", kind="numeric"),
    )
)


@pytest.mark.parametrize(
    ("row", "unknown"),
    [
        ({}, {}),
        ({"colour": "black", "tags": "even|odd", "text": "word", "year": 3}, {}),
        ({"colour": None, "tags": None, "text": "new words", "year": -3.5, "size": "x"}, {}),
        ({"colour": 3, "tags": []}, {}),
        ({"colour": " black "}, {}),
        ({"colour": "blck"}, {"colour": ["blck"]}),
        ({"colour": ["black", "red"]}, {"colour": ["red"]}),
        ({"tags": "odd| low |even|big|low"}, {"tags": ["big", "low"]}),
        ({"tags": ["odd", "even|odd"]}, {"tags": ["even|odd"]}),
        ({"colour": True, "tags": 4.0}, {"colour": ["True"], "tags": ["4"]}),
    ],
)
def test_unknown_categories(row: dict[str, object], unknown: dict[str, list[str]]) -> None:
    """Categories without a position are named by column; words and numbers have no such thing."""
    assert SCHEMA.unknown(row) == unknown
    known = {name: value for name, value in row.items() if name not in unknown}
    assert (SCHEMA.encode([row]) != SCHEMA.encode([known])).any() == (
        row in ({"colour": ["black", "red"]}, {"tags": "odd| low |even|big|low"},
                {"tags": ["odd", "even|odd"]})
    )  # fmt: skip


@pytest.mark.parametrize("value", [True, False, "new", [1998]])
def test_what_is_no_number_is_refused(value: object) -> None:
    """A truth is none either; the column and the value are named."""
    with pytest.raises(SchemaError, match=r"feature 'year': .+ is not a number; send a number"):
        SCHEMA.encode([{"year": value}])
