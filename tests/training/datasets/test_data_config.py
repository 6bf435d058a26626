"""dataset.toml: strict reading, complete writing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from recsvc.contract.manifest import InteractionRules, PositiveRule
from recsvc.contract.schema import Kind
from training.datasets import load
from training.datasets.columns import ROLES
from training.datasets.config import DatasetFile, read_config, save_config, write_config
from training.datasets.dataset import ColumnConfig, DatasetConfig
from training.errors import DataError

Write = Callable[..., Path]
DOC = Path(__file__).parents[3] / "docs" / "data.md"

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


GUESSED = {
    "interactions.csv": "user_id,item_id,rating,time,seen\na,1,5,10,x\nb,2,4,20,x\na,2,1,30,y\n",
    "items.csv": "item_id,name,tags\n1,One,a|b\n2,Two,b|a\n3,One,a|b\n",
    "users.csv": "user_id,member\na,true\nb,false\n",
}


def test_what_was_inferred_is_saved(write_files: Write) -> None:
    """Saved and read again, a data set is the same one, and no rule or kind is guessed any more."""
    directory = write_files(GUESSED)
    guessed = load(directory)
    path = save_config(directory, guessed.config, guessed.report.guesses, force=False)
    text = path.read_text()
    assert text.startswith("# Inferred by `recsvc-train data describe --write`.\n# ")
    assert "# 'rating': positive is value >= 4: 70 % of the top rating (5) or more" in text
    again = load(directory)
    assert (again.config, again.sha256) == (guessed.config, guessed.sha256)
    assert again.report.guesses == (
        "columns of interactions.csv that play no role are ignored: seen",
    )


def test_saving_replaces_nothing_unasked(write_files: Write) -> None:
    """What is there stays unless it is to be replaced; one file has no place for it."""
    directory = write_files(GUESSED | {"dataset.toml": "# mine\n"})
    dataset = load(directory)
    with pytest.raises(DataError, match=r"dataset\.toml exists already; --force replaces it"):
        save_config(directory, dataset.config, (), force=False)
    assert (directory / "dataset.toml").read_text() == "# mine\n"
    save_config(directory, dataset.config, ("a\x00b\nc",), force=True)
    assert "\n# a?b?c\n" in (directory / "dataset.toml").read_text()
    assert sorted(p.name for p in directory.iterdir()) == sorted([*GUESSED, "dataset.toml"])
    with pytest.raises(DataError, match=r"is one file and dataset\.toml belongs beside it"):
        save_config(directory / "interactions.csv", dataset.config, (), force=False)


def test_the_documented_example_names_every_key(tmp_path: Path) -> None:
    """docs/data.md shows each key and each kind of column, and what it shows is accepted."""
    text = DOC.read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "dataset.toml").write_text(example, encoding="utf-8")
    read = read_config(tmp_path)
    assert read.model_fields_set == set(DatasetFile.model_fields)
    for section in (read.interactions, read.items, read.users):
        assert section.model_fields_set == set(type(section).model_fields)
    kinds = set(get_args(Kind)) | {"ignore"}
    assert {c.kind for c in read.items.columns.values()} == kinds
    assert set(re.findall(r"^\| `([a-z-]+)` \| ", text, re.MULTILINE)) >= kinds


def test_the_documented_columns_are_recognised() -> None:
    """docs/data.md names every accepted name of every column of interactions, and no other."""
    table = DOC.read_text(encoding="utf-8").partition("| column |")[2].partition("\n\n")[0]
    rows = [[re.findall("`([a-z_]+)`", cell) for cell in line.split("|")[1:3]]
            for line in table.splitlines()[2:]]  # fmt: skip
    assert {names[0]: tuple(names + others) for names, others in rows} == ROLES
