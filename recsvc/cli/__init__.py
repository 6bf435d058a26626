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
    help="API keys. While there is none the service is open, its administration excepted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(keys_app, name="keys")

RegistryOption = Annotated[
    str | None, typer.Option("--registry", help="Directory or URL of the bundles.")
]
RedisOption = Annotated[
    str | None, typer.Option(help="redis://, rediss://, unix:// or redis+cluster:// URL.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def serve(
    registry: RegistryOption = None,
    redis_url: RedisOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[str | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    workers: Annotated[str | None, typer.Option(help="Server processes.")] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Data of the embedded Redis, used without --redis-url.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
) -> None:
    """Serve the registry's current version over HTTP."""
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


@app.command()
def archive(
    out: Annotated[Path, typer.Option(help="Directory of the Parquet files.")],
    redis_url: RedisOption = None,
    once: Annotated[bool, typer.Option("--once", help="Drain what is there, then end.")] = False,
) -> None:
    """Move the event log from Redis to Parquet files."""
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
    version: Annotated[str, typer.Argument(help="To become the current one.")],
    registry: RegistryOption = None,
) -> None:
    """Verify a version and make it current; running services take it up."""
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
    typer.echo(f"error: {message} See `{where} --help`.", err=True)
    return 2


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))
