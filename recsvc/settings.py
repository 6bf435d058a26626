"""The settings: every one from a flag, the environment (RECSVC_...), a TOML file, or its default.

In that order of precedence; the file is the one that RECSVC_CONFIG names. Knows nothing of what
the settings are used for. A wrong one is refused at start with its name, value and what is allowed.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from recsvc.errors import SettingsError

ENV_PREFIX = "RECSVC_"
CONFIG_VARIABLE = "RECSVC_CONFIG"
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")

# Kubernetes adds these to every pod for a Service called "recsvc"; they are not ours.
_SERVICE_LINK = re.compile(r"^RECSVC_(SERVICE_(HOST|PORT)|PORT_\d+_).*$")


class Settings(BaseSettings):
    """All settings of the service. `Settings.load` reads them; tests may construct them."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    registry: str = "registry"
    """Directory or fsspec URL of the bundles."""
    redis_url: str | None = None
    """redis://, rediss://, unix://, redis+cluster:// or rediss+cluster://. None: embedded Redis."""
    data_dir: Path = Path("recsvc-data")
    """Where the embedded Redis keeps its data and the service its own files."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    workers: int = Field(default=1, ge=1, le=256)
    """Server processes."""

    partitions: int = Field(default=256, ge=1, le=16384)
    """Partitions of the users and the event log. Fixed once Redis holds data."""
    max_events_per_user: int = Field(default=1000, ge=1, le=100_000)
    """Size of a user's support set; the oldest events leave it first."""
    state_ttl_s: int = Field(default=90 * 86_400, ge=1)
    """A user's state expires this long after its last change. The event log never does."""
    dedupe_ttl_s: int = Field(default=7 * 86_400, ge=1)
    """How long an event id is remembered to drop a repeat."""
    redis_timeout_s: float = Field(default=0.2, gt=0, le=60)
    """Budget of one read from Redis: connect, send and receive together."""
    redis_write_timeout_s: float = Field(default=2.0, gt=0, le=60)
    """The same for a write, an export and an erasure."""
    redis_max_connections: int = Field(default=64, ge=1, le=10_000)
    """Connections to Redis of one worker (to each node of a cluster)."""
    redis_appendfsync: Literal["everysec", "always"] = "everysec"
    """When the embedded Redis forces its append-only file to the disk."""
    breaker_failures: int = Field(default=5, ge=1)
    """Consecutive failures of Redis that open the circuit breaker."""
    breaker_reset_s: float = Field(default=1.0, gt=0, le=3600)
    """How long the open breaker refuses calls before it lets one through to probe."""

    max_requests_in_flight: int = Field(default=500, ge=1, le=100_000)
    """Requests that one worker answers at a time; more are refused with 429 at once."""
    require_keys: bool = False
    """Refuse requests without an API key even while no key exists (or Redis could not be asked)."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Largest request body. A worker holds 32 times as much of all bodies together."""
    receive_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """How long a request's head may take to arrive, and its body again as long; then 408. Raise it
    where clients send large bodies over slow lines."""
    stop_timeout_s: int = Field(default=10, ge=0, le=3600)
    """How long open requests may take to end after a stop signal; then they are answered 503."""
    max_k: int = Field(default=1000, ge=1, le=100_000)
    """Longest list that a request may ask for."""
    max_events_per_request: int = Field(default=10_000, ge=1, le=100_000)
    """Most events in one POST."""
    max_event_lead_s: float = Field(default=86_400.0, ge=0, le=10 * 365 * 86_400)
    """How far an event's time may be ahead of its arrival. A day: clocks that are off, and local
    times that were sent without their offset. What is ahead counts as if it happened on arrival."""
    max_features: int = Field(default=200, ge=1, le=10_000)
    """Most features of a user or an item, and most values of one feature."""
    max_feature_chars: int = Field(default=20_000, ge=1, le=1_000_000)
    """Longest text that a feature may hold."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the model's graphs run. `cuda` is refused at start where it is not there."""
    registry_poll_s: float = Field(default=1.0, gt=0, le=3600)
    """How often the service looks for a new current bundle."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe message that is logged."""
    log_format: Literal["console", "json"] = "console"
    """Lines for a person or for a machine."""

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme not in REDIS_SCHEMES:
            raise ValueError(f"the URL must start with one of {'://, '.join(REDIS_SCHEMES)}://")
        return url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file. No .env file, no secrets directory."""
        file = TomlConfigSettingsSource(settings_cls, toml_file=os.environ.get(CONFIG_VARIABLE))
        return init_settings, env_settings, file

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None) -> "Settings":
        """Read the settings from flags, environment and file.

        Args:
            flags: values given on the command line by field name; None values count as not given.

        Raises:
            SettingsError: one is wrong or unknown, or the file cannot be read.
        """
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        _check_config_file()
        _check_unknown_variables(os.environ)
        try:
            return cls(**given)
        except ValidationError as exc:
            lines = [_explain(error, given) for error in exc.errors()]
            raise SettingsError("; ".join(lines)) from exc


def mask_url(url: str) -> str:
    """A URL as it may be shown: any password in it replaced by ***."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)


def _check_config_file() -> None:
    path = os.environ.get(CONFIG_VARIABLE)
    if path is None:
        return
    try:
        tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(
            f"{CONFIG_VARIABLE}={path!r} is not a readable TOML file: {exc}; "
            "correct the file or unset the variable"
        ) from exc


def _check_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or upper in known or _SERVICE_LINK.match(upper):
            continue
        close = difflib.get_close_matches(upper, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known are {sorted(known)}"
        raise SettingsError(f"{name} is set and is no setting{hint}")


def _explain(error: ErrorDetails, given: Mapping[str, Any]) -> str:
    field = str(error["loc"][0]) if error["loc"] else "?"
    value = error["input"]
    shown = repr(mask_url(value) if isinstance(value, str) else value)
    variable = ENV_PREFIX + field.upper()
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(field, Settings.model_fields, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{field!r} is no setting{hint}"
    if field in given:
        source = f"--{field.replace('_', '-')}"
    elif any(name.upper() == variable for name in os.environ):
        source = variable
    else:
        source = f"{field!r} in {os.environ.get(CONFIG_VARIABLE)}"
    text = f"{source}={shown} is wrong: {error['msg'].removeprefix('Value error, ')}"
    if field == "port" and isinstance(value, str) and value.startswith("tcp://"):
        text += " (Kubernetes set it for the Service; use enableServiceLinks: false)"
    return text
