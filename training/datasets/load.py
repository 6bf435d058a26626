"""Read a data set from disk: recognise, check, infer what is not said, and turn ids into codes.

Knows nothing of models. Interactions stream through in columns; only ids are ever text.

Shape legend: E interactions.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsvc.contract.manifest import InteractionRules
from training.datasets.columns import InteractionColumns, recognise
from training.datasets.config import CONFIG_FILE, DatasetFile, parse_positive, read_config
from training.datasets.dataset import (
    ColumnConfig,
    Dataset,
    DatasetConfig,
    Interactions,
    LoadReport,
    OnBadRow,
    label_values,
)
from training.datasets.history import Coded, in_time_order
from training.datasets.infer import guess_positive
from training.datasets.rows import read_rows
from training.datasets.sides import Side, read_side
from training.datasets.sources import Source, open_source
from training.datasets.tables import Table
from training.datasets.times import guess_unit
from training.errors import DataError


@dataclass(slots=True)
class Notes:
    """What is found on the way, for the report."""

    skipped: dict[str, int] = field(default_factory=dict)
    guesses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def load(directory: Path, *, on_bad_row: OnBadRow = "fail") -> Dataset:
    """Read a data set.

    Args:
        directory: in our layout or a usual format; or one file of interactions.
        on_bad_row: refuse the data set at the first bad row, or leave bad rows out and count them.

    Raises:
        DataError: the data set is not usable; names file, line, column, value and remedy.
    """
    declared = read_config(directory) if directory.is_dir() else DatasetFile()
    return load_source(open_source(directory), declared, directory, on_bad_row=on_bad_row)


def load_source(
    source: Source, declared: DatasetFile, directory: Path, *, on_bad_row: OnBadRow = "fail"
) -> Dataset:
    """`load`, where the files are recognised and the configuration is read.

    Args:
        directory: where a person finds them, for messages.
    """
    notes = Notes()
    table = source.interactions
    columns = recognise(table.columns, table.path)
    config = _base_config(source, declared, columns, notes)
    rows = read_rows(table, columns, config, on_bad_row, notes.skipped)
    n_read = len(rows) + sum(notes.skipped.values())
    users = _side(source.users, "user_id", declared, source, on_bad_row, notes)
    items = _side(source.items, "item_id", declared, source, on_bad_row, notes)
    coded = in_time_order(table, rows, on_bad_row, notes.skipped)
    _compare(users, coded.user_ids, "users", notes)
    _compare(items, coded.item_ids, "items", notes)
    rules = _rules(declared, columns, coded, directory / CONFIG_FILE, notes)
    config = config.model_copy(
        update={
            "rules": rules,
            "user_columns": users.kinds,
            "item_columns": items.kinds,
            "title_column": items.title,
        }
    )
    _refuse_useless(table.path, coded, config)
    report = LoadReport(
        rows_read=n_read,
        rows_skipped=notes.skipped,
        repeats_merged=coded.repeats_merged,
        guesses=tuple(notes.guesses),
        warnings=tuple(notes.warnings),
    )
    return _assemble(coded, users, items, config, report)


def _assemble(
    coded: Coded, users: Side, items: Side, config: DatasetConfig, report: LoadReport
) -> Dataset:
    user_ids, item_ids = users.all_ids(coded.user_ids), items.all_ids(coded.item_ids)
    user_rows, item_rows = users.aligned(user_ids), items.aligned(item_ids)
    digest = hashlib.sha256()
    _hash_interactions(digest, coded.interactions, user_ids, item_ids)
    _hash_features(digest, user_rows, config.user_columns)
    _hash_features(digest, item_rows, config.item_columns)
    return Dataset(
        name=config.name,
        interactions=coded.interactions,
        user_ids=user_ids,
        item_ids=item_ids,
        users=user_rows,
        items=item_rows,
        config=config,
        report=report,
        sha256=digest.hexdigest(),
    )


def _base_config(
    source: Source, declared: DatasetFile, columns: InteractionColumns, notes: Notes
) -> DatasetConfig:
    """What must be known before rows are read: the name, the unit of time."""
    unit = declared.interactions.timestamp_unit
    if columns.timestamp is None:
        unit = None
    elif unit is None:
        unit, why = guess_unit(source.interactions, columns.timestamp)
        if why:
            notes.guesses.append(why)
    if columns.ignored:
        notes.guesses.append(
            f"columns of {source.interactions.path.name} that play no role are ignored: "
            f"{', '.join(columns.ignored)}"
        )
    return DatasetConfig(
        name=declared.name or source.name,
        timestamp_unit=unit,
        missing_value=declared.interactions.missing_value,
    )


def _side(
    table: Table | None,
    role: str,
    declared: DatasetFile,
    source: Source,
    on_bad_row: OnBadRow,
    notes: Notes,
) -> Side:
    section = declared.users if role == "user_id" else declared.items
    hints = source.user_kinds if role == "user_id" else source.item_kinds
    title = declared.items.title if role == "item_id" else None
    if table is None and (section.columns or title):
        what = "users" if role == "user_id" else "items"
        notes.warnings.append(f"{CONFIG_FILE} names columns of {what}, but there is no {what} file")
    return read_side(
        table,
        role,
        {**hints, **section.columns},
        title,
        on_bad_row,
        notes.skipped,
        notes.guesses,
    )


def _compare(side: Side, interacted: pl.Series, what: str, notes: Notes) -> None:
    """Warn where a file of features knows few of the ids that interactions have."""
    if side.features is None:
        return
    share = float(interacted.is_in(side.ids.implode()).mean())  # type: ignore[arg-type]  # not empty
    if share < 0.5:
        notes.warnings.append(
            f"the {what} file knows {share:.0%} of the {what} that have interactions: "
            "are the ids written the same way in both files?"
        )


def _rules(
    declared: DatasetFile, columns: InteractionColumns, coded: Coded, path: Path, notes: Notes
) -> InteractionRules:
    weights = declared.interactions.event_weights
    for name in sorted(set(weights) - set(coded.interactions.event_names)):
        notes.warnings.append(f"interactions.event_weights: no interaction has the event {name!r}")
    value_E, said = coded.interactions.value_E, declared.interactions.positive
    if said is not None:
        names = tuple(dict.fromkeys(("value", *([columns.value] if columns.value else []))))
        rule = parse_positive(said, names, path)
        if rule is not None and value_E is None:
            raise DataError(
                f"{path}: interactions.positive = {said!r}, but the interactions have no value "
                'column; add one, or write "every"'
            )
        return InteractionRules(positive=rule, event_weights=weights)
    if value_E is None:
        return InteractionRules(event_weights=weights)
    rule, why = guess_positive(pl.Series(value_E), named_rating=columns.is_rating)
    notes.guesses.append(f"{columns.value!r}: {why}")
    return InteractionRules(positive=rule, event_weights=weights)


def _refuse_useless(path: Path, coded: Coded, config: DatasetConfig) -> None:
    """Raise DataError where nothing can be learned."""
    for what, ids in (("user", coded.user_ids), ("item", coded.item_ids)):
        if len(ids) < 2:
            raise DataError(
                f"{path} has a single {what} ({ids[0]!r}); a model needs at least two: "
                f"check that the column {what}_id holds what its name says"
            )
    rows = coded.interactions
    if not label_values(len(rows), rows.value_E, config.rules).any():
        top = np.nanmax(rows.value_E) if rows.value_E is not None else float("nan")
        raise DataError(
            f"{path} has no positive interaction: the rule is {config.rules.positive}, the highest "
            f'value {top:g}; correct interactions.positive in {CONFIG_FILE} (or write "every")'
        )


def _hash_interactions(
    digest: "hashlib._Hash", rows: Interactions, user_ids: list[str], item_ids: list[str]
) -> None:
    for ids in (user_ids, item_ids, list(rows.event_names)):
        digest.update("\0".join(ids).encode() + b"\1")
    columns: list[NDArray[Any] | None] = [rows.user_E, rows.item_E, rows.value_E]
    columns += [rows.event_E, rows.timestamp_E]
    for column in columns:
        digest.update(b"\1" if column is None else np.ascontiguousarray(column).data)


def _hash_features(
    digest: "hashlib._Hash", frame: pl.DataFrame | None, kinds: dict[str, ColumnConfig]
) -> None:
    if frame is not None:
        used = [name for name in frame.columns if kinds[name].kind != "ignore"]
        digest.update(frame.select(used).write_ndjson().encode())
    digest.update(b"\1")
