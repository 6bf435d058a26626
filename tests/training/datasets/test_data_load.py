"""Reading a data set in our layout: codes, order, times, repeats, labels."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets import Dataset, labels, load
from training.errors import DataError

Write = Callable[..., Path]


def triples(dataset: Dataset) -> list[tuple[str, str, float]]:
    """User, item and value of every row, in the data set's order."""
    rows = dataset.interactions
    assert rows.value_E is not None
    return [
        (dataset.user_ids[u], dataset.item_ids[i], float(v))
        for u, i, v in zip(rows.user_E, rows.item_E, rows.value_E, strict=True)
    ]


def test_rows_are_sorted_by_user_then_time(write_files: Write) -> None:
    """Rows come out by user, and in time order within a user; ties keep the file's order."""
    text = "user_id,item_id,rating,timestamp\nb,2,4,30\nb,9,1,10\na,3,3,20\na,1,5,20\nb,1,2,10\n"
    dataset = load(write_files({"interactions.csv": text}))
    expected = [("a", "3", 3), ("a", "1", 5), ("b", "9", 1), ("b", "1", 2), ("b", "2", 4)]
    assert expected == triples(dataset)


def test_order_column_gives_the_order_within_a_user(write_files: Write) -> None:
    """A column `order` sorts a user's rows where there is no time."""
    text = "user_id,item_id,rating,order\na,1,5,2\na,2,4,1\na,3,3,0\nb,1,5,0\n"
    dataset = load(write_files({"interactions.csv": text}))
    expected = [("a", "3", 3), ("a", "2", 4), ("a", "1", 5), ("b", "1", 5)]
    assert expected == triples(dataset)
    assert dataset.interactions.has_order
    assert dataset.interactions.timestamp_E is None


def test_ids_without_interactions_come_last(write_files: Write) -> None:
    """Users and items that only their own file knows come after those with interactions."""
    dataset = load(
        write_files(
            {
                "interactions.csv": "user_id,item_id\nb,20\nc,3\n",
                "items.csv": "item_id,brand\n1,x\n3,y\n10,x\n20,y\n",
                "users.csv": "user_id,city\na,X\nb,Y\nc,Z\n",
            }
        )
    )
    assert dataset.item_ids == ["20", "3", "1", "10"]
    assert dataset.user_ids == ["b", "c", "a"]
    assert dataset.items is not None
    assert dataset.users is not None
    assert dataset.items["brand"].to_list() == ["y", "y", "x", "x"]
    assert dataset.users["city"].to_list() == ["Y", "Z", "X"]


def test_feature_rows_are_null_where_the_file_has_none(write_files: Write) -> None:
    """An item with interactions and no row in the items file has missing features."""
    dataset = load(
        write_files(
            {
                "interactions.csv": "user_id,item_id\na,1\nb,2\n",
                "items.csv": "item_id,price\n2,1.5\n7,2.5\n",
            }
        )
    )
    assert dataset.items is not None
    assert dataset.items["price"].to_list() == [None, 1.5, 2.5]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_parquet_and_csv_read_alike(write_files: Write, suffix: str) -> None:
    """The same table gives the same data set from Parquet and from CSV."""
    table = pl.DataFrame(
        {
            "user_id": ["a", "b", "a"],
            "item_id": ["1", "1", "2"],
            "rating": [5, 4, 1],
            "timestamp": [100, 200, 50],
        }
    )
    directory = write_files({}, suffix)
    if suffix == "csv":
        table.write_csv(directory / "interactions.csv")
    else:
        table.write_parquet(directory / "interactions.parquet")
    dataset = load(directory)
    assert triples(dataset) == [("a", "2", 1), ("a", "1", 5), ("b", "1", 4)]
    assert dataset.interactions.timestamp_E is not None
    assert dataset.interactions.timestamp_E.tolist() == [50_000, 100_000, 200_000]
    assert dataset.sha256 == load(directory).sha256


def test_whole_number_ids_become_text(write_files: Write) -> None:
    """Integer ids, and floats that are whole numbers, are read as the text of the number."""
    directory = write_files({})
    table = pl.DataFrame({"user_id": [1.0, 20.0], "item_id": [7, 8]})
    table.write_parquet(directory / "interactions.parquet")
    dataset = load(directory)
    assert (dataset.user_ids, dataset.item_ids) == (["1", "20"], ["7", "8"])


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("1577836800", "s"),
        ("1577836800.0", "s"),
        ("1577836800000", "ms"),
        ("1577836800000000", "us"),
        ("1577836800000000000", "ns"),
        ("2020-01-01", "iso"),
        ("2020-01-01 00:00:00", "iso"),
        ("2020-01-01T01:00:00+01:00", "iso"),
        ("2020-01-01T00:00:00.000Z", "iso"),
    ],
)
def test_timestamp_units(write_files: Write, written: str, unit: str) -> None:
    """The unit of timestamps is told from their size or form, and all become milliseconds."""
    text = f"user_id,item_id,timestamp\na,1,{written}\nb,2,{written}\n"
    dataset = load(write_files({"interactions.csv": text}))
    assert dataset.interactions.timestamp_E is not None
    assert dataset.interactions.timestamp_E.tolist() == [1_577_836_800_000] * 2
    assert dataset.config.timestamp_unit == unit


def test_date_time_columns_are_read(write_files: Write) -> None:
    """A Parquet column of date-times needs no unit, and an offset is honoured."""
    directory = write_files({})
    moment = pl.Series(["2020-01-01T00:00:00+0000"] * 2).str.to_datetime(time_zone="UTC")
    table = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["1", "2"]})
    local = moment.dt.convert_time_zone("Asia/Tokyo").alias("timestamp")
    table.with_columns(local).write_parquet(directory / "interactions.parquet")
    timestamp_E = load(directory).interactions.timestamp_E
    assert timestamp_E is not None
    assert timestamp_E.tolist() == [1_577_836_800_000] * 2


def test_declared_unit_wins(write_files: Write) -> None:
    """A unit in dataset.toml overrules the size of the numbers."""
    dataset = load(
        write_files(
            {
                "interactions.csv": "user_id,item_id,timestamp\na,1,5000\nb,2,6000\n",
                "dataset.toml": '[interactions]\ntimestamp_unit = "ms"\n',
            }
        )
    )
    assert dataset.interactions.timestamp_E is not None
    assert dataset.interactions.timestamp_E.tolist() == [5000, 6000]


def test_repeats_without_time_are_merged(write_files: Write) -> None:
    """Without time, a repeat of a user and an item is merged to the first row and counted."""
    text = "user_id,item_id,rating\na,1,5\na,1,2\nb,1,4\na,2,4\na,1,1\n"
    dataset = load(write_files({"interactions.csv": text}))
    assert triples(dataset) == [("a", "1", 5), ("a", "2", 4), ("b", "1", 4)]
    assert dataset.report.repeats_merged == 2
    assert dataset.report.rows_read == 5


def test_repeats_with_time_are_kept(write_files: Write) -> None:
    """With time, a user may meet an item again, and both rows stay."""
    text = "user_id,item_id,timestamp\na,1,10\na,1,20\nb,2,10\n"
    dataset = load(write_files({"interactions.csv": text}))
    assert len(dataset.interactions) == 3
    assert dataset.report.repeats_merged == 0


def test_same_time_with_another_event_is_no_duplicate(write_files: Write) -> None:
    """Two event types at one time are two interactions; an empty event is none."""
    text = "user_id,item_id,event,timestamp\na,1,view,10\na,1,buy,10\na,1,,10\nb,2,view,10\n"
    rows = load(write_files({"interactions.csv": text})).interactions
    assert rows.event_names == ("buy", "view")
    assert rows.event_E is not None
    assert rows.event_E.tolist() == [1, 0, -1, 1]


def test_ratings_get_a_rule(write_files: Write) -> None:
    """Ratings are positive from 70 % of the top on; the guess is in the report."""
    text = "user_id,item_id,rating\na,1,5\nb,2,4\na,2,3\nb,3,1\n"
    dataset = load(write_files({"interactions.csv": text}))
    assert str(dataset.config.rules.positive) == "value >= 4"
    assert labels(dataset).tolist() == [1, 0, 1, 0]
    assert any("value >= 4" in guess for guess in dataset.report.guesses)


@pytest.mark.parametrize("name", ["value", "weight", "count"])
def test_other_values_get_no_rule(write_files: Write, name: str) -> None:
    """Values that are not called ratings make every interaction positive."""
    text = f"user_id,item_id,{name}\na,1,5\nb,2,4\na,2,3\nb,3,1\n"
    dataset = load(write_files({"interactions.csv": text}))
    assert dataset.config.rules.positive is None
    assert labels(dataset).tolist() == [1, 1, 1, 1]


def test_declared_rule_may_use_the_files_name(write_files: Write) -> None:
    """A rule in dataset.toml may call the value by the file's name; comparison is in float32."""
    dataset = load(
        write_files(
            {
                "interactions.csv": "user_id,item_id,rating\na,1,0.7\nb,2,0.6\n",
                "dataset.toml": 'name = "x"\n[interactions]\npositive = "rating >= 0.7"\n',
            }
        )
    )
    assert dataset.name == "x"
    assert labels(dataset).tolist() == [1, 0]


def test_missing_values_where_they_are_allowed(write_files: Write) -> None:
    """With `missing_value = "allow"` a row without a value is a positive, as in the service."""
    dataset = load(
        write_files(
            {
                "interactions.csv": "user_id,item_id,rating\na,1,5\na,2,\nb,3,2\nb,4,NaN\n",
                "dataset.toml": '[interactions]\nmissing_value = "allow"\n',
            }
        )
    )
    assert labels(dataset).tolist() == [1, 1, 0, 1]


def test_columns_without_a_role_are_ignored_with_a_note(write_files: Write) -> None:
    """Extra columns of interactions are named in the report and may hold anything."""
    text = "user_id,item_id,hours,ts_kind\na,1,,exact\nb,2,NaN,\n"
    dataset = load(write_files({"interactions.csv": text}))
    assert any("hours, ts_kind" in guess for guess in dataset.report.guesses)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(write_files: Write, separator: str) -> None:
    """The separator of a CSV file is told from its header; quotes, CRLF and a BOM are read."""
    lines = ["\ufeffuserId,movieId,Rating", '"a",1,5', "b,2,4", ""]
    text = "\r\n".join(lines).replace(",", separator)
    assert triples(load(write_files({"interactions.csv": text}))) == [("a", "1", 5), ("b", "2", 4)]


def test_bad_rows_are_skipped_and_counted_by_reason(write_files: Write) -> None:
    """`skip` leaves bad rows out, over all files, and says how many of which kind."""
    directory = write_files(
        {
            "interactions.csv": (
                "user_id,item_id,rating,timestamp\n"
                "a,1,5,10\nb,2,x,10\n,2,4,10\nb,2,4,\n\nb,3,4,20\na,1,5,10\nb,3,4,20,9\nc,1,nan,1\n"
            ),
            "items.csv": "item_id,brand\n1,x\n1,y\n3,z\n",
        }
    )
    dataset = load(directory, on_bad_row="skip")
    assert triples(dataset) == [("a", "1", 5), ("b", "3", 4)]
    assert dataset.report.rows_skipped == {
        "interactions.csv: blank line": 1,
        "interactions.csv: not a number in 'rating'": 1,
        "interactions.csv: no id in 'user_id'": 1,
        "interactions.csv: no timestamp in 'timestamp'": 1,
        "interactions.csv: more fields than the header": 1,
        "interactions.csv: missing or NaN in 'rating'": 1,
        "interactions.csv: duplicate of an earlier row": 1,
        "items.csv: item_id of an earlier row in 'item_id'": 1,
    }
    assert dataset.report.rows_read == 9
    with pytest.raises(DataError, match="line 3, column 'rating', value 'x': not a number"):
        load(directory)


def test_columns_of_a_file_that_is_not_there_are_reported(write_files: Write) -> None:
    """A dataset.toml that speaks of an items file which is missing is a warning."""
    files = {
        "interactions.csv": "user_id,item_id\na,1\nb,2\n",
        "dataset.toml": '[items]\ntitle = "title"\n',
    }
    assert load(write_files(files)).report.warnings == (
        "dataset.toml names columns of items, but there is no items file",
    )


def test_parquet_in_parts(write_files: Write) -> None:
    """A directory of Parquet parts, as Spark writes it, is one table."""
    parts = write_files({}) / "interactions.parquet"
    parts.mkdir()
    for i, user in enumerate("ab"):
        table = pl.DataFrame({"user_id": [user], "item_id": [str(i)]})
        table.write_parquet(parts / f"part-{i}.parquet")
    assert load(parts.parent).user_ids == ["a", "b"]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 5), st.integers(0, 9)),
        min_size=1,
        max_size=40,
    ),
    st.booleans(),
)
def test_reading_equals_a_plain_loop(rows: list[tuple[int, int, int, int]], timed: bool) -> None:
    """Codes, order, merged repeats and skipped duplicates are those of a loop over the rows."""
    rows += [(8, 8, 1, 0), (9, 9, 5, 0)]
    last = "timestamp" if timed else "note"
    text = f"user_id,item_id,rating,{last}\n" + "".join(f"{u},{i},{v},{t}\n" for u, i, v, t in rows)
    with TemporaryDirectory() as directory:
        (Path(directory) / "interactions.csv").write_text(text)
        dataset = load(Path(directory), on_bad_row="skip")
    first: dict[tuple[int, ...], tuple[int, int, int, int]] = {}
    for u, i, v, t in rows:
        first.setdefault((u, i, t) if timed else (u, i), (u, i, v, t))
    kept = sorted(first.values(), key=lambda row: (row[0], row[3] if timed else 0))
    assert triples(dataset) == [(str(u), str(i), float(v)) for u, i, v, _ in kept]
    left_out = sum(dataset.report.rows_skipped.values()) + dataset.report.repeats_merged
    assert left_out == len(rows) - len(kept)


def test_ids_are_never_features(write_files: Write) -> None:
    """A column of the other id in a feature file is no feature."""
    dataset = load(
        write_files(
            {
                "interactions.csv": "user_id,item_id\na,1\nb,2\n",
                "items.csv": "id,user_id,brand\n1,a,x\n2,b,y\n",
            }
        )
    )
    assert dataset.items is not None
    assert dataset.items.columns == ["brand"]


def test_ids_written_differently_are_reported(write_files: Write) -> None:
    """A feature file whose ids do not meet those of the interactions is a warning."""
    dataset = load(
        write_files(
            {
                "interactions.csv": "user_id,item_id\na,1.0\nb,2.0\n",
                "items.csv": "item_id,brand\n1,x\n2,y\n",
            }
        )
    )
    assert any("knows 0% of the items" in warning for warning in dataset.report.warnings)


def test_weights_of_events(write_files: Write) -> None:
    """Event weights come from dataset.toml; one for an event that never happens is reported."""
    dataset = load(
        write_files(
            {
                "interactions.csv": "user_id,item_id,event\na,1,view\nb,2,buy\n",
                "dataset.toml": "[interactions.event_weights]\nview = 0.2\nlike = 1\n",
            }
        )
    )
    assert dataset.config.rules.weight("view") == pytest.approx(0.2)
    assert dataset.report.warnings == (
        "interactions.event_weights: no interaction has the event 'like'",
    )


def test_column_types_of_interactions(write_files: Write) -> None:
    """Codes are int32, values float32, events int16, times int64."""
    text = "user_id,item_id,value,event,timestamp\na,1,5,x,10\nb,2,4,y,10\n"
    rows = load(write_files({"interactions.csv": text})).interactions
    assert rows.value_E is not None
    assert rows.event_E is not None
    assert rows.timestamp_E is not None
    columns = (rows.user_E, rows.item_E, rows.value_E, rows.event_E, rows.timestamp_E)
    types: list[type[np.generic]] = [np.int32, np.int32, np.float32, np.int16, np.int64]
    assert [c.dtype for c in columns] == [np.dtype(t) for t in types]
