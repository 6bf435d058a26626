"""API keys: who may call the service, and how far. Only their hashes are kept.

Knows nothing of HTTP. A key is 256 random bits, so a plain hash of it gives nothing away.

    recsvc:keys     hash: key id -> JSON with name, scope, creation time, SHA-256 of the key; no TTL
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import orjson

from recsvc.errors import InvalidInputError
from recsvc.state.connection import Connection

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""Each allows what those before it allow."""
MAX_NAME_CHARS = 100

_KEYS = b"recsvc:keys"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key."""

    key_id: str
    """Names it in lists and when it is revoked; no secret."""
    name: str
    """Who it was made for."""
    scope: Scope
    created_at: str
    """RFC 3339, UTC."""
    sha256: str
    """Of the key itself, hexadecimal."""

    def allows(self, scope: Scope) -> bool:
        """Whether it reaches as far as a scope."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class ApiKeys:
    """The keys in the store, over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, name: str, scope: Scope, now: datetime) -> tuple[ApiKey, str]:
        """Make a key; the second value is the key itself, which is kept nowhere.

        Raises:
            InvalidInputError: the name is empty or too long.
            StateUnavailableError: whether it was made is unknown; look at the list.
        """
        if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise InvalidInputError(
                f"name {name[:MAX_NAME_CHARS]!r}: 1 to {MAX_NAME_CHARS} printable characters are "
                "allowed; say who the key is for"
            )
        key_id = secrets.token_hex(4)
        key = f"recsvc_{key_id}_{secrets.token_urlsafe(32)}"
        made = ApiKey(key_id, name, scope, now.astimezone(UTC).isoformat(), hash_key(key))
        fields = {n: getattr(made, n) for n in ("name", "scope", "created_at", "sha256")}
        await self._connection.command("HSET", _KEYS, key_id, orjson.dumps(fields))
        return made, key

    async def all(self) -> list[ApiKey]:
        """Every key, oldest first.

        Raises:
            StateUnavailableError: Redis does not answer.
        """
        stored = await self._connection.command("HGETALL", _KEYS)
        found = [ApiKey(key_id.decode(), **orjson.loads(data)) for key_id, data in stored.items()]
        return sorted(found, key=lambda key: (key.created_at, key.key_id))

    async def revoke(self, key_id: str) -> bool:
        """Forget a key; whether there was one.

        Raises:
            StateUnavailableError: whether it happened is unknown; repeat it.
        """
        return bool(await self._connection.command("HDEL", _KEYS, key_id))


def hash_key(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
