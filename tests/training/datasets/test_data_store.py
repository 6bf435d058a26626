"""Importing and writing: complete, equal to what was read, all or nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.datasets import Dataset, load
from training.datasets.importing import import_dataset
from training.datasets.store import new_directory, write_dataset, write_pieces
from training.errors import DataError

Write = Callable[..., Path]

RICH = {
    "interactions.csv": (
        "user_id,item_id,rating,event,timestamp\n"
        "b,1,4,view,1577836800\na,2,5,,1577836900\na,1,1.5,buy,1577836800\na,9,2,buy,1577836800\n"
    ),
    "items.csv": (
        "item_id,title,genres,price,released,adult\n"
        '1,"One, two",a|b,1.5,2020-01-01,true\n5,Five,b,,2020-02-01,false\n2,Two,b,2,,\n'
    ),
    "users.csv": "user_id,age,zip\na,20,01234\nz,30,99999\n",
    "dataset.toml": 'name = "rich"\n[interactions.event_weights]\nbuy = 2.0\n',
}


def assert_equal(expected: Dataset, actual: Dataset) -> None:
    """Everything but where it was read from."""
    assert (expected.sha256, expected.name) == (actual.sha256, actual.name)
    assert (expected.user_ids, expected.item_ids) == (actual.user_ids, actual.item_ids)
    for frame, other in ((expected.users, actual.users), (expected.items, actual.items)):
        assert (frame is None) == (other is None)
        assert frame is None or (other is not None and frame.equals(other))
    one, two = expected.interactions, actual.interactions
    assert (one.event_names, one.has_order) == (two.event_names, two.has_order)
    for column in ("user_E", "item_E", "value_E", "event_E", "timestamp_E"):
        np.testing.assert_equal(getattr(one, column), getattr(two, column))
    assert expected.config.rules == actual.config.rules
    assert expected.config.item_columns == actual.config.item_columns
    assert expected.config.title_column == actual.config.title_column


ORDERED = {"interactions.csv": "user_id,item_id,order\na,1,7\na,2,3\nb,1,0\na,3,9\n"}
PLAIN = {"interactions.csv": "user_id,item_id\nb,1\na,2\na,1\n"}
GAPS = {
    "interactions.csv": "user_id,item_id,rating\na,1,\na,2,4\nb,1,5\n",
    "dataset.toml": '[interactions]\nmissing_value = "allow"\n',
}


@pytest.mark.parametrize("files", [RICH, ORDERED, PLAIN, GAPS])
def test_what_is_imported_reads_back_equal(
    write_files: Write, tmp_path: Path, files: dict[str, str]
) -> None:
    """Import keeps everything: ids, order, times, events, features, rules, also a second time."""
    source = write_files(files)
    imported = import_dataset(source, tmp_path / "out")
    assert_equal(load(source), imported)
    read = load(tmp_path / "out")
    assert_equal(imported, read)
    assert_equal(read, import_dataset(tmp_path / "out", tmp_path / "again"))


def test_nothing_is_left_to_be_inferred(write_files: Write, tmp_path: Path) -> None:
    """After an import the report has no guesses: dataset.toml says it all."""
    import_dataset(write_files(RICH), tmp_path / "out")
    assert load(tmp_path / "out").report.guesses == ()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "dataset.toml",
        "interactions.parquet",
        "items.parquet",
        "users.parquet",
    ]


def test_a_failed_import_leaves_nothing(write_files: Write, tmp_path: Path) -> None:
    """Bad input leaves no trace of the output, not even a directory beside it."""
    source = write_files({"interactions.csv": "user_id,item_id,rating\na,1,x\n"})
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(DataError):
        import_dataset(source, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A failure halfway removes what was written aside."""

    def failing() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"a": [1]})
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(
            DataError, match=r"out cannot be written: .*No space left.*nothing was changed"
        ),
        new_directory(tmp_path / "out") as aside,
    ):
        write_pieces(aside / "x.parquet", failing())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_is_kept(write_files: Write, tmp_path: Path) -> None:
    """An output that holds something is refused before the source is read; an empty one is used."""
    source = write_files(PLAIN)
    out = tmp_path / "out"
    out.mkdir()
    import_dataset(source, out)
    with pytest.raises(DataError, match="out exists already; remove it or choose another"):
        import_dataset(tmp_path / "nowhere", out)
    with pytest.raises(DataError, match="exists already"):
        write_dataset(load(source), out)


def test_an_output_below_a_file_is_refused(write_files: Write, tmp_path: Path) -> None:
    """A place that cannot be a directory is named."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        import_dataset(write_files(PLAIN), tmp_path / "file" / "out")
