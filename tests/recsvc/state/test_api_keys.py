"""API keys are kept on every kind of Redis, as hashes, for ever."""

from datetime import UTC, datetime, timedelta

import pytest

from recsvc.errors import InvalidInputError
from recsvc.state.api_keys import hash_key
from recsvc.state.store import StateStore
from tests.recsvc.state.conftest import Backend

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def test_a_key_is_found_by_its_hash(store: StateStore, backend: Backend) -> None:
    """What was made is listed, oldest first; the key itself is nowhere; it does not expire."""
    later, second = await store.api_keys.create("bob", "admin", NOW + timedelta(seconds=1))
    earlier, first = await store.api_keys.create("ada", "read", NOW)
    assert await store.api_keys.all() == [earlier, later]
    assert (earlier.sha256, later.sha256) == (hash_key(first), hash_key(second))
    assert earlier.created_at == "2026-01-31T12:00:00+00:00"
    secret = first.removeprefix(f"recsvc_{earlier.key_id}_")  # which may hold a "_" of its own
    assert len(secret) == 43
    assert secret.encode() not in backend.dump()
    assert backend.ttl(b"recsvc:keys") == -1


async def test_a_revoked_key_is_gone(store: StateStore) -> None:
    """Once; the others stay."""
    kept, _ = await store.api_keys.create("ada", "read", NOW)
    revoked, _ = await store.api_keys.create("bob", "read", NOW)
    assert await store.api_keys.revoke(revoked.key_id)
    assert not await store.api_keys.revoke(revoked.key_id)
    assert await store.api_keys.all() == [kept]


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines"])
async def test_a_key_needs_a_name(store: StateStore, name: str) -> None:
    """Something a person can tell it by; nothing is made otherwise."""
    with pytest.raises(InvalidInputError, match="printable"):
        await store.api_keys.create(name, "read", NOW)
    assert await store.api_keys.all() == []
