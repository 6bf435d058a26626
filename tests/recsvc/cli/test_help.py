"""What `--help` of both command lines tells somebody who has never seen them."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from recsvc.cli import run
from recsvc.settings import Settings
from training.protocols.available import PROTOCOLS
from training.protocols.run_store import default_directory

SETTING = re.compile(r"\[env var: RECSVC_([A-Z_]+); (?:default: (.*)|(required))\]$")
OWN_WORDS = {"redis_url": "a Redis of its own, embedded"}


def commands(script: str) -> Iterator[tuple[str, Any]]:
    """Every command of a script with its full name."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        if not inner:
            yield name, command
        for word, one in inner.items():
            yield from walk(f"{name} {word}", one)

    module = importlib.import_module(
        {"recsvc": "recsvc.cli", "recsvc-train": "training.cli"}[script]
    )
    yield from walk(script, typer.main.get_command(module.app))


ALL = [*commands("recsvc"), *commands("recsvc-train")]


def options(command: Any) -> dict[str, Any]:
    """Options and arguments by their first name on the command line."""
    return {p.opts[0]: p for p in command.params}


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_option_says_what_it_does_and_its_default(name: str, command: Any) -> None:
    """No option without words, none that may be left out without saying what counts then."""
    assert command.help
    for flag, option in options(command).items():
        assert option.help, flag
        if option.required or getattr(option, "is_flag", False):
            continue
        said = "default: " in option.help or "required]" in option.help
        optional = flag in ("version", "--cron", "--html") or getattr(option, "envvar", None)
        assert said or optional or (option.show_default and option.default is not None), flag


def test_settings_are_the_settings() -> None:
    """An option that is a setting names its variable and the default that it has."""
    seen = set()
    for name, command in commands("recsvc"):
        for flag, option in options(command).items():
            field = flag.removeprefix("--").replace("-", "_")
            if field not in Settings.model_fields:
                continue
            match = SETTING.search(option.help)
            assert match is not None, (name, flag)
            assert match[1] == field.upper()
            default = OWN_WORDS.get(field, str(Settings.model_fields[field].default))
            assert match[2] == default or (match[3] and name != "recsvc serve"), (name, flag)
            seen.add(field)
    assert {"registry", "redis_url", "port", "workers", "data_dir"} <= seen


def test_protocols_and_places_are_named() -> None:
    """`evaluate --help` names every protocol, and where finished runs are kept."""
    found = options(dict(ALL)["recsvc-train evaluate"])
    for protocol in PROTOCOLS:
        assert protocol.name in found["--protocol"].help
    assert "~/" + "/".join(default_directory().parts[-3:]) in found["--work"].help


@pytest.mark.parametrize("script", ["recsvc", "recsvc-train"])
def test_no_summary_is_cut_off(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of commands says in one line what each does."""
    monkeypatch.setenv("COLUMNS", "80")
    module = {"recsvc": "recsvc.cli", "recsvc-train": "training.cli"}[script]
    command: Any = typer.main.get_command(importlib.import_module(module).app)
    groups = [command, *(c for c in command.commands.values() if hasattr(c, "commands"))]
    for group in groups:
        listing = group.get_help(typer.Context(group, info_name=script)).partition("Commands:")[2]
        assert listing
        assert "..." not in listing


def test_all_settings_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every setting with its value here; what differs from its default says so, without secrets."""
    monkeypatch.setenv("RECSVC_REDIS_URL", "redis://:secret@db:6379")
    monkeypatch.setenv("RECSVC_PORT", "9000")
    assert run(["settings"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^RECSVC_([A-Z_]+)=", text, re.MULTILINE) == [
        name.upper() for name in Settings.model_fields
    ]
    assert "RECSVC_PORT=9000  (default: 8000)\n    Port to listen on; 0 takes a free one." in text
    assert "RECSVC_REDIS_URL=redis://:***@db:6379  (default: None)" in text
    assert "RECSVC_WORKERS=1\n" in text
    monkeypatch.setenv("RECSVC_PORT", "many")
    assert run(["settings", "--json"]) == 2
    assert "RECSVC_PORT='many'" in capsys.readouterr().err
