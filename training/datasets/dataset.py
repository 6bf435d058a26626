"""A data set in memory: interactions as columns, feature rows, configuration, and what was guessed.

Knows nothing of files: `load` reads them. Nothing here holds one Python object per interaction.

Shape legend: E interactions.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsvc.contract.manifest import InteractionRules
from recsvc.contract.schema import Kind

OnBadRow = Literal["fail", "skip"]
TextEncoder = Literal["tokens", "words", "both"]
ColumnKind = Literal[Kind, "ignore"]
TimestampUnit = Literal["s", "ms", "us", "ns", "iso"]


class ColumnConfig(BaseModel):
    """What one feature column holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ColumnKind
    separator: str = Field(default="|", min_length=1)
    """Splits a multi-categorical value that is written as one string."""
    encoder: TextEncoder = "tokens"
    """Of a text: the words that training saw, word vectors that were learned elsewhere, or both."""


class DatasetConfig(BaseModel):
    """A data set's configuration: what dataset.toml says, with the rest inferred."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rules: InteractionRules = InteractionRules()
    """Which interactions are positive, and the weight of each event type."""
    timestamp_unit: TimestampUnit | None = None
    """Unit of the file's timestamps; None where there are none."""
    missing_value: Literal["refuse", "allow"] = "refuse"
    """What an interaction without a value is, where the file has a value column: a bad row, or
    an interaction like any other (positive, as the service takes an event without a value)."""
    user_columns: dict[str, ColumnConfig] = Field(default_factory=dict)
    item_columns: dict[str, ColumnConfig] = Field(default_factory=dict)
    title_column: str | None = None
    """Item column that names an item to a person."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """Interactions as columns of E rows, sorted by user, then by time within the user."""

    user_E: NDArray[np.int32]
    """Position in `Dataset.user_ids`."""
    item_E: NDArray[np.int32]
    """Position in `Dataset.item_ids`."""
    value_E: NDArray[np.float32] | None = None
    """NaN where a row has no value (only with `missing_value = "allow"`)."""
    event_E: NDArray[np.int16] | None = None
    """Position in `event_names`; -1 where a row names no event."""
    event_names: tuple[str, ...] = ()
    timestamp_E: NDArray[np.int64] | None = None
    """Milliseconds since 1970-01-01 UTC."""
    has_order: bool = False
    """Whether rows are in time order within a user; else they are in the order of the file."""

    def __len__(self) -> int:
        return len(self.user_E)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What reading a data set found, and what was decided without being told."""

    rows_read: int = 0
    """Interaction rows in the file, bad ones included."""
    rows_skipped: dict[str, int] = field(default_factory=dict)
    """Bad rows that were left out, over all files, by reason."""
    repeats_merged: int = 0
    """Rows that repeat an earlier one where there is no time to tell them apart."""
    guesses: tuple[str, ...] = ()
    """Decisions made from the data, each a sentence that says how to overrule it."""
    warnings: tuple[str, ...] = ()
    """What a person should look at, each a sentence."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set, ready for training.

    Users with interactions come first in `user_ids`, in ascending order of their id; users that
    only the users file knows come after, likewise. The same holds for items.
    """

    name: str
    interactions: Interactions
    user_ids: list[str]
    """Position = code."""
    item_ids: list[str]
    """Position = code."""
    users: pl.DataFrame | None
    """Feature rows aligned to `user_ids`, without the id; all null where the file has no row."""
    items: pl.DataFrame | None
    """Feature rows aligned to `item_ids`."""
    config: DatasetConfig
    report: LoadReport
    sha256: str
    """Of the ids, the interactions and the feature rows."""

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)


def labels(dataset: Dataset) -> NDArray[np.float32]:
    """1 for a positive interaction and 0 for a negative one, (E,), by the data set's rules.

    An interaction without a value is positive, as it is for the service.
    """
    rows = dataset.interactions
    return label_values(len(rows), rows.value_E, dataset.config.rules)


def label_values(
    n_rows: int, value_E: NDArray[np.float32] | None, rules: InteractionRules
) -> NDArray[np.float32]:
    """`labels`, from the values themselves."""
    if value_E is None or rules.positive is None:
        return np.ones(n_rows, dtype=np.float32)
    # The rule compares an array as it compares one number, in the array's float32.
    accepted_E: NDArray[np.bool_] = cast("Any", rules.positive).accepts(value_E)
    positive_E: NDArray[np.bool_] = accepted_E | np.isnan(value_E)
    return positive_E.astype(np.float32)
