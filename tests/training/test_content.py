"""Rows of encoded features of which something is missing."""

from typing import Any

import numpy as np

from recsvc.contract.schema import Column, FeatureSchema
from training.content import blank_row, fill_missing

SCHEMA = FeatureSchema(
    columns=(
        Column(name="age", kind="numeric", mean=30.0, scale=10.0),
        Column(name="job", kind="categorical", vocabulary=("cook", "nurse", "clerk")),
    )
)


def test_a_blank_row_is_read_as_one_without_columns() -> None:
    """Training saw every age and not every job: the average age, and the missing job."""
    rows: list[dict[str, Any]] = [
        {"age": 20, "job": "cook"},
        {"age": 35},
        {"age": 50, "job": "clerk"},
    ]
    mean_F = SCHEMA.encode(rows).mean(axis=0).astype(np.float64)
    weight_FD = np.random.default_rng(0).normal(size=(len(mean_F), 4))
    expected_D = SCHEMA.encode([{}])[0] @ fill_missing(weight_FD, SCHEMA, mean_F)
    np.testing.assert_allclose(blank_row(SCHEMA, mean_F) @ weight_FD, expected_D, rtol=1e-5)
    assert blank_row(SCHEMA, mean_F)[0] == 1.0
