"""dataset.toml: what a person says about a data set, read strictly and written back.

Knows nothing of data files. Whatever the file leaves out is inferred by `load`; docs/data.md says
what each key means.

    name = "shop"

    [interactions]
    positive = "value >= 4"          # or "every"
    timestamp_unit = "s"             # s, ms, us, ns or iso
    missing_value = "refuse"         # or "allow": an interaction without a value is positive
    event_weights = { view = 0.2, purchase = 1.0 }

    [items]
    title = "title"
    columns.genres = { kind = "multi-categorical", separator = "|" }
    columns.plot = { kind = "text", encoder = "both" }   # tokens, words (their vectors) or both

    [users]
    columns.age = { kind = "numeric" }
"""

import json
import os
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsvc.contract.manifest import PositiveRule
from training.datasets.columns import nearest
from training.datasets.dataset import ColumnConfig, DatasetConfig, TimestampUnit
from training.errors import DataError

CONFIG_FILE = "dataset.toml"
EVERY = "every"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InteractionsSection(_Section):
    positive: str | None = None
    timestamp_unit: TimestampUnit | None = None
    missing_value: Literal["refuse", "allow"] = "refuse"
    event_weights: dict[str, float] = Field(default_factory=dict)


class UsersSection(_Section):
    columns: dict[str, ColumnConfig] = Field(default_factory=dict)


class ItemsSection(UsersSection):
    title: str | None = None


class DatasetFile(_Section):
    """The content of dataset.toml; a key that is not there is None or empty."""

    name: str | None = None
    interactions: InteractionsSection = InteractionsSection()
    users: UsersSection = UsersSection()
    items: ItemsSection = ItemsSection()


def read_config(directory: Path) -> DatasetFile:
    """Read `directory/dataset.toml`; an empty configuration where there is none.

    Raises:
        DataError: it is not TOML, has a key that is not known, or a value that is not allowed.
    """
    path = directory / CONFIG_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return DatasetFile()
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(f"{path} cannot be read ({exc}); write it as UTF-8 text") from exc
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise DataError(f"{path} is not TOML: {exc}; correct that line") from exc
    try:
        return DatasetFile.model_validate(document)
    except ValidationError as exc:
        raise DataError(f"{path}: {_sentence(exc)}") from exc


def parse_positive(text: str, value_names: tuple[str, ...], path: Path) -> PositiveRule | None:
    """A rule such as `value >= 4`; None for `every`.

    Args:
        value_names: names that the rule may call the value by.

    Raises:
        DataError: it is no rule, or is about another column.
    """
    if text.strip() == EVERY:
        return None
    allowed = f'write "value >= 4", or "{EVERY}" for all interactions'
    try:
        rule = PositiveRule.parse(text)
    except ValueError as exc:
        raise DataError(f"{path}: interactions.positive = {text!r} is no rule; {allowed}") from exc
    if rule.column not in value_names:
        raise DataError(
            f"{path}: interactions.positive = {text!r} is about column {rule.column!r}, the data "
            f"set's value is called {' or '.join(map(repr, value_names))}; {allowed}"
        )
    return rule.model_copy(update={"column": "value"})


def write_config(directory: Path, config: DatasetConfig) -> None:
    """Write `directory/dataset.toml`, complete: nothing is left to be inferred again."""
    (directory / CONFIG_FILE).write_text(_text(config), encoding="utf-8")


def save_config(
    directory: Path, config: DatasetConfig, guesses: Sequence[str], *, force: bool
) -> Path:
    """Write down beside a person's data what was inferred, for them to read and to overrule.

    Args:
        guesses: sentences that go above the keys, as comments.
        force: replace a dataset.toml that is there.

    Raises:
        DataError: it is there and stays, `directory` is a file, or it cannot be written.
    """
    path = directory / CONFIG_FILE
    if not directory.is_dir():
        raise DataError(
            f"{directory} is one file and {CONFIG_FILE} belongs beside it in a directory; put it "
            "into one as interactions.csv or .parquet, or use `recsvc-train data import`"
        )
    if path.exists() and not force:
        raise DataError(f"{path} exists already; --force replaces it, and with it any comments")
    comments = [f"# {''.join(c if c.isprintable() else '?' for c in g)}" for g in guesses]
    text = "\n".join(["# Inferred by `recsvc-train data describe --write`.", *comments, ""])
    try:
        _replace(path, f"{text}\n{_text(config)}")
    except OSError as exc:
        raise DataError(f"{path} cannot be written ({exc}); nothing was changed") from exc
    return path


def _replace(path: Path, text: str) -> None:
    """All of the file or nothing."""
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    finally:
        Path(aside).unlink(missing_ok=True)


def _text(config: DatasetConfig) -> str:
    rules = config.rules
    lines = [f"name = {_toml(config.name)}", "", "[interactions]"]
    lines.append(f"positive = {_toml(str(rules.positive) if rules.positive else EVERY)}")
    if config.timestamp_unit is not None:
        lines.append(f"timestamp_unit = {_toml(config.timestamp_unit)}")
    lines.append(f"missing_value = {_toml(config.missing_value)}")
    if rules.event_weights:
        lines += ["", "[interactions.event_weights]"]
        lines += [f"{_toml(k)} = {float(v)!r}" for k, v in rules.event_weights.items()]
    lines += ["", "[users]", *_columns(config.user_columns), "", "[items]"]
    if config.title_column is not None:
        lines.append(f"title = {_toml(config.title_column)}")
    lines += _columns(config.item_columns)
    return "\n".join(lines) + "\n"


def _columns(columns: dict[str, ColumnConfig]) -> list[str]:
    lines = []
    for name, column in columns.items():
        text = f"columns.{_toml(name)} = {{ kind = {_toml(column.kind)}"
        if column.kind == "multi-categorical":
            text += f", separator = {_toml(column.separator)}"
        if column.kind == "text":
            text += f", encoder = {_toml(column.encoder)}"
        lines.append(text + " }")
    return lines


def _toml(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _sentence(exc: ValidationError) -> str:
    """The first thing that pydantic found, as the key, its value and what is allowed."""
    errors = exc.errors(include_url=False)
    error = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{key} = {error['input']!r}: {error['msg']}"
    known = _known_keys(tuple(str(part) for part in error["loc"][:-1]))
    near = nearest(str(error["loc"][-1]), known)
    hint = f"did you mean {near!r}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {key!r}; {hint}"


def _known_keys(parents: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = DatasetFile
    for parent in parents[:1]:
        annotation = DatasetFile.model_fields[parent].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    if len(parents) > 1:
        model = ColumnConfig
    return list(model.model_fields)
