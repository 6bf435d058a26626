"""dataset.toml: strict reading, complete writing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recsvc.contract.manifest import InteractionRules, PositiveRule
from training.datasets import load
from training.datasets.config import DatasetFile, read_config, write_config
from training.datasets.dataset import ColumnConfig, DatasetConfig
from training.errors import DataError

Write = Callable[..., Path]

BAD_TOML = [
    ("nme = 'x'", "unknown key 'nme'; did you mean 'name'?"),
    ("[interactions]\npositve = 'every'", "unknown key 'interactions.positve'; .*'positive'"),
    ("[items]\ncolumns.g = {knd='text'}", "unknown key 'items.columns.g.knd'; did you mean 'kind'"),
    ("[items]\ncolumns.g = {kind='words'}", "items.columns.g.kind = 'words': Input should be 'cat"),
    ("[interactions]\ntimestamp_unit = 'sec'", "timestamp_unit = 'sec': Input should be 's', 'ms'"),
    ("[wrong]\nx = 1", "unknown key 'wrong'; known here: name, interactions, users, items"),
    ("name = 3", "name = 3: Input should be a valid string"),
    ("name = [", "is not TOML: .*correct that line"),
]


@pytest.mark.parametrize(("text", "message"), BAD_TOML)
def test_bad_configuration_is_refused(write_files: Write, text: str, message: str) -> None:
    """A wrong key or value is named, with what is allowed."""
    directory = write_files({"dataset.toml": text})
    with pytest.raises(DataError, match=message) as caught:
        read_config(directory)
    assert str(directory / "dataset.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("value is 4", "'value is 4' is no rule; write \"value >= 4\""),
        (
            "stars >= 4",
            "is about column 'stars', the data set's value is called 'value' or 'rating'",
        ),
    ],
)
def test_bad_rules_are_refused(write_files: Write, rule: str, message: str) -> None:
    """A rule that cannot be read, or is about another column, is named."""
    files = {
        "interactions.csv": "user_id,item_id,rating\na,1,5\nb,2,4\n",
        "dataset.toml": f'[interactions]\npositive = "{rule}"\n',
    }
    with pytest.raises(DataError, match=message):
        load(write_files(files))


def test_a_rule_needs_values(write_files: Write) -> None:
    """A rule about values is refused where there are none."""
    files = {
        "interactions.csv": "user_id,item_id\na,1\nb,2\n",
        "dataset.toml": '[interactions]\npositive = "value >= 4"\n',
    }
    with pytest.raises(DataError, match="the interactions have no value column"):
        load(write_files(files))


@pytest.mark.parametrize("key", ["columns.brnd = {kind = 'text'}", "title = 'brnd'"])
def test_unknown_columns_are_refused(write_files: Write, key: str) -> None:
    """A column that dataset.toml names and the file lacks is named, with the nearest one."""
    files = {
        "interactions.csv": "user_id,item_id\na,1\nb,2\n",
        "items.csv": "item_id,brand\n1,x\n2,y\n",
        "dataset.toml": f"[items]\n{key}\n",
    }
    with pytest.raises(
        DataError, match=r"column 'brnd' is not in items\.csv; did you mean 'brand'"
    ):
        load(write_files(files))


def test_no_file_is_an_empty_configuration(tmp_path: Path) -> None:
    """Without dataset.toml nothing is declared."""
    assert read_config(tmp_path) == DatasetFile()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Writing is complete, whatever characters names hold."""
    config = DatasetConfig(
        name='a "quoted" näme\x7f',
        rules=InteractionRules(
            positive=PositiveRule(op=">", threshold=3.5), event_weights={"add to cart": 0.25}
        ),
        timestamp_unit="iso",
        missing_value="allow",
        user_columns={"home.town": ColumnConfig(kind="categorical")},
        item_columns={"tags": ColumnConfig(kind="multi-categorical", separator="\\")},
        title_column="the title",
    )
    write_config(tmp_path, config)
    read = read_config(tmp_path)
    assert read.name == config.name
    assert read.interactions.positive == "value > 3.5"
    assert read.interactions.event_weights == config.rules.event_weights
    assert (read.interactions.timestamp_unit, read.interactions.missing_value) == ("iso", "allow")
    assert (read.users.columns, read.items.columns) == (config.user_columns, config.item_columns)
    assert read.items.title == config.title_column
