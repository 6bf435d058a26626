"""`recsvc keys`: who may call the service. Works on its Redis; running services follow at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TypeVar

import orjson
import typer

from recsvc.errors import InvalidInputError, NotFoundError, SettingsError
from recsvc.settings import Settings
from recsvc.state.api_keys import SCOPES, ApiKeys
from recsvc.state.store import StateStore

Result = TypeVar("Result")


def create(redis_url: str | None, name: str, scope: str) -> None:
    """Make a key; it alone goes to standard output, and is shown this once."""
    chosen = next((known for known in SCOPES if known == scope), None)
    if chosen is None:
        raise InvalidInputError(f"--scope={scope}: one of {', '.join(SCOPES)} is allowed")
    made, key = _with_keys(redis_url, lambda keys: keys.create(name, chosen, datetime.now(UTC)))
    typer.echo(
        f"key {made.key_id} for {name!r}, scope {scope}; keep it, it is not stored:", err=True
    )
    typer.echo(key)


def list_keys(redis_url: str | None, as_json: bool) -> None:
    """Print what is known of each key, which is not the key."""
    found = _with_keys(redis_url, lambda keys: keys.all())
    shown = [{k: v for k, v in asdict(key).items() if k != "sha256"} for key in found]
    if as_json:
        typer.echo(orjson.dumps(shown).decode())
        return
    for key in found:
        typer.echo(f"{key.key_id}  {key.scope:5}  {key.created_at}  {key.name}")
    if not found:
        typer.echo("no keys: the service is open, its administration excepted", err=True)


def revoke(redis_url: str | None, key_id: str) -> None:
    """Forget a key.

    Raises:
        NotFoundError: there is none with this id.
    """
    if not _with_keys(redis_url, lambda keys: keys.revoke(key_id)):
        raise NotFoundError(f"there is no key {key_id!r}; `recsvc keys list` shows what there is")
    typer.echo(f"key {key_id} is revoked", err=True)


def _with_keys(redis_url: str | None, use: Callable[[ApiKeys], Awaitable[Result]]) -> Result:
    settings = Settings.load({"redis_url": redis_url})
    url = settings.redis_url
    if url is None:
        raise SettingsError(
            "no Redis is named; give --redis-url (of a running `recsvc serve` with embedded Redis: "
            "the unix:// URL that it prints)"
        )

    async def call() -> Result:
        store = StateStore.open(url, settings)
        try:
            return await use(store.api_keys)
        finally:
            await store.close()

    return asyncio.run(call())
