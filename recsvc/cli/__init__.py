"""`recsvc`: one thin function a command.

What is heavy is imported inside a command, so that `--help` answers at once and `serve` can set up
its process first. An error that is meant for a person is one line on standard error. Exit code 2:
something that the caller can put right; 1: anything else.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="recsvc",
    help="Recommendations that adapt to a new user or a new item at request time.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(
    help="The versions in a registry.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(models_app, name="models")
keys_app = typer.Typer(
    help="API keys. While there is none the service is open, but for its administration.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(keys_app, name="keys")


def _setting(text: str, name: str, default: str) -> Any:
    """An option that is a setting; not read by typer, so that a wrong value names its source."""
    return typer.Option(
        "--" + name.replace("_", "-"),
        help=f"{text}  [env var: RECSVC_{name.upper()}; default: {default}]",
    )


RegistryOption = Annotated[
    str | None, _setting("Directory or URL (s3://...) of the versions.", "registry", "registry")
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        help="redis://, rediss://, unix:// or redis+cluster:// URL of the service's Redis.  "
        "[env var: RECSVC_REDIS_URL; required]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def serve(
    registry: RegistryOption = None,
    redis_url: Annotated[
        str | None,
        _setting(
            "redis://, rediss://, unix:// or redis+cluster:// URL.",
            "redis_url",
            "a Redis of its own, embedded",
        ),
    ] = None,
    host: Annotated[
        str | None, _setting("Address to listen on; 0.0.0.0: all.", "host", "127.0.0.1")
    ] = None,
    port: Annotated[str | None, _setting("Port; 0 takes a free one.", "port", "8000")] = None,
    workers: Annotated[str | None, _setting("Server processes.", "workers", "1")] = None,
    data_dir: Annotated[
        str | None,
        _setting(
            "Data of the embedded Redis, used without --redis-url.", "data_dir", "recsvc-data"
        ),
    ] = None,
    log_level: Annotated[
        str | None, _setting("debug, info, warning or error.", "log_level", "info")
    ] = None,
    log_format: Annotated[str | None, _setting("console or json.", "log_format", "console")] = None,
) -> None:
    """Serve the registry's current version over HTTP.

    A flag wins over its environment variable, that over the TOML file that RECSVC_CONFIG names.
    Those two have more settings: `recsvc settings` shows all.
    """
    # One thread a worker, set before numpy is imported: the scan and the graphs are small, and
    # workers are what uses the cores.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from recsvc.cli.serve import run_service

    run_service(
        {
            "registry": registry,
            "redis_url": redis_url,
            "host": host,
            "port": port,
            "workers": workers,
            "data_dir": data_dir,
            "log_level": log_level,
            "log_format": log_format,
        }
    )


@app.command("settings")
def show_settings(json: Json = False) -> None:
    """Show every setting: its variable, value here, default, meaning."""
    from recsvc.cli.settings import show

    show(json)


@app.command()
def archive(
    out: Annotated[Path, typer.Option(help="Directory of the Parquet files.")],
    redis_url: RedisOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Drain what is there, then end; else every 5 s.")
    ] = False,
) -> None:
    """Move the event log from Redis to Parquet files, for training."""
    import asyncio

    from recsvc.archive.drain import run_archive
    from recsvc.errors import SettingsError
    from recsvc.settings import Settings
    from recsvc.telemetry import configure_logging

    settings = Settings.load({"redis_url": redis_url})
    if settings.redis_url is None:
        raise SettingsError(
            "no Redis is named; give --redis-url (of a running `recsvc serve` with embedded Redis: "
            "the unix:// URL that it prints)"
        )
    configure_logging(settings.log_level, settings.log_format, sys.stderr)
    result = asyncio.run(run_archive(settings.redis_url, out, settings, once=once))
    typer.echo(
        f"{result.events} events, {result.user_features} user features, "
        f"{result.items} items to {out}"
    )


@models_app.command("list")
def models_list(registry: RegistryOption = None, json: Json = False) -> None:
    """List the versions, oldest first."""
    from recsvc.cli import models

    models.list_versions(models.open_registry(registry), json)


@models_app.command("show")
def models_show(
    version: Annotated[str | None, typer.Argument(help="The current one if not given.")] = None,
    registry: RegistryOption = None,
    json: Json = False,
) -> None:
    """Show what a version is and how it was made."""
    from recsvc.cli import models

    models.show(models.open_registry(registry), version, json)


@models_app.command("activate")
def models_activate(
    version: Annotated[str, typer.Argument(help="As `recsvc models list` shows it.")],
    registry: RegistryOption = None,
) -> None:
    """Verify a version and make it current.

    Running services take it up within a second, without a restart.
    """
    from recsvc.cli import models

    models.activate(models.open_registry(registry), version)


@models_app.command("rollback")
def models_rollback(registry: RegistryOption = None) -> None:
    """Make the version before the current one current again."""
    from recsvc.cli import models

    models.rollback(models.open_registry(registry))


@models_app.command("verify")
def models_verify(
    version: Annotated[str | None, typer.Argument(help="The current one if not given.")] = None,
    registry: RegistryOption = None,
) -> None:
    """Check every file of a version and replay its golden rows."""
    from recsvc.cli import models

    models.verify(models.open_registry(registry), version)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Who it is for.")],
    scope: Annotated[
        str, typer.Option(help="read, write or admin; each allows what those before it allow.")
    ] = "read",
    redis_url: RedisOption = None,
) -> None:
    """Make a key and print it, this once."""
    from recsvc.cli import keys

    keys.create(redis_url, name, scope)


@keys_app.command("list")
def keys_list(redis_url: RedisOption = None, json: Json = False) -> None:
    """List the keys: id, scope, when and for whom they were made."""
    from recsvc.cli import keys

    keys.list_keys(redis_url, json)


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="As `recsvc keys list` shows it.")],
    redis_url: RedisOption = None,
) -> None:
    """Forget a key; running services refuse it within a second."""
    from recsvc.cli import keys

    keys.revoke(redis_url, key_id)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    from recsvc.contract.errors import ContractError
    from recsvc.errors import RecsvcError

    try:
        returned: Any = app(args=list(arguments), prog_name="recsvc", standalone_mode=False)
    except (ContractError, RecsvcError) as exc:
        typer.echo(f"error: {exc}", err=True)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        return 130
    except Exception as exc:
        if (explain := getattr(exc, "format_message", None)) is not None:
            return _usage_error(exc, explain())
        traceback.print_exc()
        typer.echo(f"error: unexpected {type(exc).__name__}: {exc}. This is a bug.", err=True)
        return 1
    return returned if isinstance(returned, int) else 0


def _usage_error(exc: Exception, message: str) -> int:
    """A wrong command line, in one line; a bare command shows its help instead."""
    context = getattr(exc, "ctx", None)
    if not message or type(exc).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help() if context is not None else message)
        return 2
    where = context.command_path if context is not None else "recsvc"
    typer.echo(f"error: {message.rstrip('.')}. See `{where} --help`.", err=True)
    return 2


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))
