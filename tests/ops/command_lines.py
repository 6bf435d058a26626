"""Command lines of the console scripts, parsed by the commands themselves without running them."""

import importlib
import tomllib
from collections.abc import Sequence
from typing import Any

import typer

from tests.ops.dockerfile import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]


def check(script: str, arguments: Sequence[str]) -> None:
    """Parse a command line as the script would.

    Args:
        script: a console script of the project.
        arguments: command, then its flags and arguments.

    Raises:
        AssertionError: there is no such script or command.
        Exception: the command's own usage error: an unknown flag, a missing one, a wrong value.
    """
    scripts = PROJECT["scripts"]
    assert script in scripts, f"{script!r} is no console script of {sorted(scripts)}"
    module = importlib.import_module(scripts[script].partition(":")[0])
    command: Any = typer.main.get_command(module.app)
    rest = list(arguments)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    assert not hasattr(command, "commands"), f"{script} {arguments} names no command"
    command.make_context(script, rest)
