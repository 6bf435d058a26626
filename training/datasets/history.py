"""Interaction rows to codes, in time order within each user, repeats dealt with.

Knows nothing of files' formats or of rules.

Shape legend: E interactions.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from training.datasets.dataset import Interactions, OnBadRow
from training.datasets.rows import Check, bad_row
from training.datasets.tables import ROW, Table
from training.errors import DataError

MAX_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Coded:
    """Interactions, and what their codes stand for."""

    interactions: Interactions
    user_ids: pl.Series
    item_ids: pl.Series
    repeats_merged: int


def in_time_order(
    table: Table, rows: pl.DataFrame, on_bad_row: OnBadRow, skipped: dict[str, int]
) -> Coded:
    """Turn ids into codes, sort, and merge or refuse repeats.

    With a time (`time_ms`, or `order`), rows equal in user, item, event and time are duplicates:
    bad rows. Without, repeats of a user, item and event are merged to the first: there is nothing
    to tell them apart by.

    Args:
        rows: as `read_rows` returns them.
        skipped: duplicates that were left out are counted here.

    Raises:
        DataError: a duplicate (unless they are skipped), or too many event names.
    """
    user_ids, user = _codes(rows["user_id"])
    item_ids, item = _codes(rows["item_id"])
    event_names: tuple[str, ...] = ()
    columns = {"user": user, "item": item}
    if "event" in rows:
        names, columns["event"] = _codes(rows["event"])
        event_names = _checked_events(names, table)
    rest = [c for c in ("value", "time_ms", "order") if c in rows]
    frame = rows.select(ROW, *rest).with_columns(pl.Series(k, v) for k, v in columns.items())
    times = [c for c in ("time_ms", "order") if c in frame]
    keys = ["user", "item", *(["event"] if "event" in frame else []), *times]
    repeats = _repeats(frame, keys)
    kept = frame.join(repeats, on=ROW, how="anti") if len(repeats) else frame
    if len(repeats) and times:
        _refuse_or_count(table, kept, repeats, keys, on_bad_row, skipped)
    interactions = _interactions(kept.sort(["user", *times, ROW]), event_names, bool(times))
    return Coded(interactions, user_ids, item_ids, 0 if times else len(repeats))


def _interactions(
    kept: pl.DataFrame, event_names: tuple[str, ...], has_order: bool
) -> Interactions:
    return Interactions(
        user_E=kept["user"].cast(pl.Int32).to_numpy(),
        item_E=kept["item"].cast(pl.Int32).to_numpy(),
        value_E=kept["value"].to_numpy() if "value" in kept else None,
        event_E=kept["event"].fill_null(-1).to_numpy().astype(np.int16) if event_names else None,
        event_names=event_names,
        timestamp_E=kept["time_ms"].to_numpy() if "time_ms" in kept else None,
        has_order=has_order,
    )


def _codes(ids: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Distinct ids, ascending, and the position of each row's id among them."""
    distinct = ids.drop_nulls().unique().sort()
    return distinct, ids.cast(pl.Enum(distinct)).to_physical().cast(pl.Int32)


def _repeats(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Rows that equal an earlier one in `keys`.

    Few users meet an item twice, so most rows are ruled out by one integer for user and item.
    """
    pair = frame["user"].cast(pl.Int64) * (1 << 31) + frame["item"]
    again = frame.filter(pair.is_duplicated())
    return again.filter(~pl.struct(keys).is_first_distinct())


def _checked_events(names: pl.Series, table: Table) -> tuple[str, ...]:
    if len(names) > MAX_EVENTS:
        raise DataError(
            f"{table.path}: the event column has {len(names)} distinct names, at most {MAX_EVENTS} "
            "are allowed; rename the column if it is no type of event"
        )
    return tuple(names.to_list())


def _refuse_or_count(
    table: Table,
    kept: pl.DataFrame,
    repeats: pl.DataFrame,
    keys: list[str],
    on_bad_row: OnBadRow,
    skipped: dict[str, int],
) -> None:
    if on_bad_row == "skip":
        reason = f"{table.path.name}: duplicate of an earlier row"
        skipped[reason] = skipped.get(reason, 0) + len(repeats)
        return
    row = repeats.sort(ROW).row(0, named=True)
    same = kept.filter(pl.all_horizontal(pl.col(k).eq_missing(row[k]) for k in keys))
    first = table.place(int(same[ROW][0])).rsplit(", ", 1)[-1]
    reason = f"the same user, item and time as {first}"
    check = Check(None, reason, "remove one of them", pl.lit(value=True))
    raise bad_row(table, int(row[ROW]), check, len(repeats) - 1)
