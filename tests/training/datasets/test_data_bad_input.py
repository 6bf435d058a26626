"""Every kind of unusable input is refused with place, value and remedy."""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from training.datasets import load
from training.errors import DataError

Write = Callable[..., Path]

HEAD = "user_id,item_id,rating\n"
GOOD = "a,1,5\nb,2,4\na,2,3\n"
TIMED = "user_id,item_id,timestamp\na,1,1577836800\nb,2,1577836801\n"

BAD_FILES = [
    ("", r"interactions\.csv is empty \(0 bytes\); copy or export"),
    (HEAD, "it has no rows; export the file again"),
    (HEAD + GOOD + "c,3", "line 5, column 'rating', value nothing: missing or NaN"),
    (HEAD + GOOD + "c,3,NaN\n", "line 5, column 'rating', value 'NaN': missing or NaN"),
    (HEAD + GOOD + "c,3,inf\n", "line 5, column 'rating', value 'inf': infinite"),
    (HEAD + GOOD + "c,3,five\n", "line 5, column 'rating', value 'five': not a number"),
    (HEAD + GOOD + ",3,5\n", "line 5, column 'user_id', value nothing: no id"),
    (HEAD + GOOD + "c,null,5\n", "line 5, column 'item_id', value 'null': no id"),
    (HEAD + GOOD + f"{'c' * 257},3,5\n", "line 5, column 'user_id', .*longer than 256 characters"),
    (HEAD + GOOD + "c,3,5,6\n", "line 5: more fields than the header; remove the extra fields"),
    (HEAD + GOOD + '"c,3,5\nd,4,5\n', "line 5 .*a quote is opened and not closed"),
    (HEAD + '"a\nb",1,5\n' + GOOD, "line 2, column 'user_id', .*line break in an id"),
    (HEAD + '"a",1,"5\n"\nb,2,"4\n"\nc,3,x\n', "line 6, column 'rating', value 'x'"),
    (HEAD + "a,1,x\nb,y,z\n,3,4\n", r"line 2, .*not a number \(2 more bad rows\)"),
    (HEAD + "a,1,5\na,2,4\n", r"has a single user \('a'\); a model needs at least two"),
    (HEAD + "a,1,5\nb,1,4\n", r"has a single item \('1'\)"),
    ("usr,item_id\na,1\nb,2\n", "no column 'user_id' .*rename 'usr' to 'user_id'"),
    ("user,sku\na,1\nb,2\n", r"no column 'item_id' .*name one of them 'item_id' \(or item, iid"),
    ("a,1,5\nb,2,4\n", r"no column 'user_id' \(found: a, 1, 5\).*add a header line"),
    ("user_id,item_id,item_id\na,1,2\n", "column 'item_id' occurs twice; rename or remove one"),
    (TIMED + "a,1,1577836800\n", "line 4: the same user, item and time as line 2; remove one"),
    (TIMED + "c,1,soon\n", r"line 4, column 'timestamp', value 'soon': .*write a number \(s since"),
    (TIMED + "c,1,\n", "line 4, column 'timestamp', value nothing: no timestamp; give the row one"),
    (
        TIMED + "c,1,1577836800000\n",
        "line 4, .*a time outside 1900 to 2200; correct it .*read as s",
    ),
    (TIMED.replace("1577836800", "12/31/2020").replace("1577836801", "x"), "nor ISO 8601"),
    (
        TIMED.replace("1577836800", "2020-02-30").replace("1577836801", "2020-02-01"),
        "line 2, .*ISO",
    ),
    ("user_id,item_id,order\na,1,0\na,2,0\na,1,0\nb,1,0\n", "line 4: the same user, item and time"),
    ("user_id,item_id,order\na,1,first\nb,1,0\n", "line 2, column 'order', value 'first'"),
    (b"\x00\x01\x02\x03,\x00\n\x00\x00\n", "its header holds control characters.*another format"),
    (b"\x89PNG\r\n\x1a\n\xff\xfe\n\x00", "line 1 is not readable as UTF-8 text"),
    (
        b"user_id,item_id\na,1\nb,caf\xe9\n",
        r"line 3 is not readable as UTF-8 text .*export it again",
    ),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_bad_csv_is_refused(write_files: Write, content: str | bytes, message: str) -> None:
    """A bad CSV file is refused, naming the file and what to do."""
    directory = write_files({"interactions.csv": content})
    with pytest.raises(DataError, match=message) as caught:
        load(directory)
    assert str(directory / "interactions.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_good_left_is_refused(write_files: Write) -> None:
    """Skipping bad rows does not make a data set of none."""
    directory = write_files({"interactions.csv": HEAD + "a,1,x\nb,2,y\n"})
    with pytest.raises(DataError, match="no good row is left"):
        load(directory, on_bad_row="skip")


def test_line_numbers_count_breaks_inside_quotes(write_files: Write) -> None:
    """A place is the line that an editor shows, also below fields with line breaks."""
    items = 'item_id,plot\n1,"two\nlines"\n2,"three\nmore\nlines"\n2,x\n'
    directory = write_files({"interactions.csv": HEAD + GOOD, "items.csv": items})
    with pytest.raises(DataError, match=r"items\.csv, line 7, column 'item_id', value '2'"):
        load(directory)


def parquet(directory: Path, **columns: pl.Series) -> Path:
    """Write a good interactions.parquet with some columns replaced."""
    base = {
        "user_id": pl.Series(["a", "b", "a"]),
        "item_id": pl.Series(["1", "2", "3"]),
        "rating": pl.Series([5.0, 4.0, 3.0]),
        "timestamp": pl.Series([10, 20, 30]),
    }
    pl.DataFrame(base | columns).write_parquet(directory / "interactions.parquet")
    return directory


BAD_COLUMNS = [
    ({"rating": pl.Series([5.0, float("nan"), 3.0])}, "row 2, column 'rating', value nan"),
    ({"rating": pl.Series([5.0, 4.0, None])}, "row 3, column 'rating', value nothing"),
    ({"rating": pl.Series([5.0, float("-inf"), 3.0])}, "row 2, .*value -inf: infinite"),
    ({"rating": pl.Series(["5", "4", "good"])}, "row 3, .*value 'good': not a number"),
    ({"rating": pl.Series([[5], [4], [3]])}, r"column 'rating' holds List\(Int64\), not numbers"),
    ({"user_id": pl.Series(["a", None, "b"])}, "row 2, column 'user_id', value nothing: no id"),
    ({"user_id": pl.Series([1.0, 2.5, 3.0])}, "row 2, .*value 2.5: not a whole number; store ids"),
    ({"user_id": pl.Series([1.0, float("nan"), 3.0])}, "row 2, .*value nan: not a whole number"),
    ({"item_id": pl.Series([[1], [2], [3]])}, "column 'item_id' holds .*store strings"),
    ({"timestamp": pl.Series([10, None, 30])}, "row 2, column 'timestamp', .*no timestamp"),
    ({"timestamp": pl.Series([1.0, float("nan"), 3.0])}, "row 2, .*value nan: not a timestamp"),
    ({"timestamp": pl.Series([True, False, True])}, "'timestamp' holds Boolean, not timestamps"),
]


@pytest.mark.parametrize(("columns", "message"), BAD_COLUMNS)
def test_bad_parquet_values_are_refused(
    write_files: Write, columns: dict[str, pl.Series], message: str
) -> None:
    """A bad value in Parquet is named by its row, from 1."""
    with pytest.raises(DataError, match=message):
        load(parquet(write_files({}), **columns))


@pytest.mark.parametrize("kept", [0, 3, 50, 300])
def test_truncated_parquet_is_refused(write_files: Write, kept: int) -> None:
    """A Parquet file that was cut off is refused as damaged."""
    path = parquet(write_files({})) / "interactions.parquet"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"not readable as Parquet .*copy or export it again"):
        load(path.parent)


def test_damaged_pages_are_refused(write_files: Write) -> None:
    """Parquet whose footer is sound and whose pages are not is refused as damaged."""
    ids = pl.Series([f"user-{i}" for i in range(1000)])
    columns = {"user_id": ids, "item_id": ids, "rating": ids.len() * pl.Series([5.0])}
    directory = write_files({})
    frame = pl.DataFrame({"user_id": columns["user_id"], "item_id": columns["item_id"]})
    path = directory / "interactions.parquet"
    frame.write_parquet(path)
    content = bytearray(path.read_bytes())
    content[40:900] = b"\x07" * 860
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path))):
        load(directory)


def test_no_positive_is_refused(write_files: Write) -> None:
    """A rule that nothing satisfies is refused, with the highest value."""
    toml = '[interactions]\npositive = "value > 5"\n'
    directory = write_files({"interactions.csv": HEAD + GOOD, "dataset.toml": toml})
    with pytest.raises(
        DataError, match=r"no positive interaction: .*value > 5, the highest value 5"
    ):
        load(directory)


def test_a_directory_without_data_is_refused(write_files: Write, tmp_path: Path) -> None:
    """What is there, and what was expected, is said."""
    with pytest.raises(DataError, match=r"holds no data set \(found: notes.txt\); expected"):
        load(write_files({"notes.txt": "x"}))
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "nowhere")


def test_two_candidates_are_refused(write_files: Write) -> None:
    """Both CSV and Parquet for one table: neither is chosen silently."""
    directory = parquet(write_files({"interactions.csv": HEAD + GOOD}))
    with pytest.raises(DataError, match="holds both"):
        load(directory)


def test_a_declared_number_must_be_one(write_files: Write) -> None:
    """A value that contradicts the kind in dataset.toml is a bad row; a missing one is not."""
    directory = write_files(
        {
            "interactions.csv": HEAD + GOOD,
            "items.csv": "item_id,price,seen\n1,2.5,2020-01-01\n2,NA,\n3,cheap,2020-01-02\n",
            "dataset.toml": '[items.columns]\nprice = {kind = "numeric"}\n',
        }
    )
    with pytest.raises(DataError, match=r"items\.csv, line 4, column 'price', value 'cheap'"):
        load(directory)
    dataset = load(directory, on_bad_row="skip")
    assert dataset.items is not None
    assert dataset.items["price"].to_list() == [2.5, None]


def test_truths_of_a_declared_number_are_numbers(write_files: Write) -> None:
    """Read as 1 and 0, since the encoder takes no truth for a number."""
    directory = write_files(
        {
            "interactions.csv": HEAD + GOOD,
            "dataset.toml": '[items.columns]\nnew = {kind = "numeric"}\n',
        }
    )
    items = pl.DataFrame({"item_id": ["1", "2", "3"], "new": [True, False, None]})
    items.write_parquet(directory / "items.parquet")
    dataset = load(directory)
    assert dataset.items is not None
    assert [type(value) for value in dataset.items["new"].to_list()] == [float, float, type(None)]


def test_a_declared_date_must_be_one(write_files: Write) -> None:
    """The same for dates."""
    directory = write_files(
        {
            "interactions.csv": HEAD + GOOD,
            "items.csv": "item_id,seen\n1,2020-01-01\n2,\n3,yesterday\n",
            "dataset.toml": '[items.columns]\nseen = {kind = "datetime"}\n',
        }
    )
    with pytest.raises(DataError, match="column 'seen', value 'yesterday': not a date"):
        load(directory)
