"""`recsvc settings`: every setting, as this environment and its file give it. Starts nothing."""

from typing import Any

import orjson
import typer

from recsvc.settings import ENV_PREFIX, Settings, mask_url


def show(as_json: bool) -> None:
    """Print variable, value, default and meaning of every setting; passwords are masked.

    Raises:
        SettingsError: one is wrong.
    """
    settings = Settings.load()
    rows = [
        {
            "variable": ENV_PREFIX + name.upper(),
            "value": _plain(getattr(settings, name)),
            "default": _plain(field.default),
            "meaning": " ".join((field.description or "").split()),
        }
        for name, field in Settings.model_fields.items()
    ]
    if as_json:
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    for row in rows:
        changed = "" if row["value"] == row["default"] else f"  (default: {row['default']})"
        typer.echo(f"{row['variable']}={'' if row['value'] is None else row['value']}{changed}")
        typer.echo(f"    {row['meaning']}")


def _plain(value: Any) -> Any:
    """A value in JSON's types."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask_url(str(value))
