"""The Lua scripts, read from the files beside this one. Knows nothing of connections."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the hash that Redis knows it by."""

    name: str
    text: bytes
    sha1: str


@cache
def load_script(name: str) -> Script:
    """The script in `<name>.lua`."""
    text = files("recsvc.state").joinpath(f"{name}.lua").read_bytes()
    # Redis identifies a script by its SHA-1; nothing secret depends on it.
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())
