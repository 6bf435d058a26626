"""Who may do what, with keys, without any, and while they cannot be read."""

from collections.abc import Sequence

import pytest

from recsvc.api.access import Access, scope_of
from recsvc.errors import ForbiddenError, StateUnavailableError, UnauthorizedError
from recsvc.state.api_keys import SCOPES, ApiKey, Scope, hash_key

pytestmark = pytest.mark.anyio


def key(scope: Scope) -> ApiKey:
    return ApiKey(f"id-{scope}", "somebody", scope, "2026-01-01T00:00:00+00:00", hash_key(scope))


class Store:
    """Keys, or no answer."""

    keys: Sequence[ApiKey] | None = ()

    async def __call__(self) -> Sequence[ApiKey]:
        if self.keys is None:
            raise StateUnavailableError("gone")
        return self.keys


async def access_with(*keys: ApiKey, require_keys: bool = False) -> Access:
    store = Store()
    store.keys = keys
    access = Access(store, require_keys=require_keys)
    await access.refresh()
    return access


@pytest.mark.parametrize("needed", SCOPES)
@pytest.mark.parametrize("had", SCOPES)
async def test_a_scope_allows_those_before_it(had: Scope, needed: Scope) -> None:
    """read, write, admin: each allows what those before it allow, and no more."""
    access = await access_with(key(had))
    if SCOPES.index(had) >= SCOPES.index(needed):
        access.check(f"Bearer {had}", needed)
    else:
        with pytest.raises(ForbiddenError, match=rf"id-{had}.*{needed}.*recsvc keys create"):
            access.check(f"Bearer {had}", needed)


@pytest.mark.parametrize(
    "sent", [None, "", "read", "Basic read", "Bearer", "Bearer nobody", "Bearer \udcff"]
)
async def test_once_a_key_exists_one_is_needed(sent: str | None) -> None:
    """Nothing, something else, or an unknown key does not pass."""
    access = await access_with(key("read"))
    with pytest.raises(UnauthorizedError, match="Authorization: Bearer"):
        access.check(sent, "read")
    access.check("bearer  read ", "read")


async def test_without_keys_all_but_administration_is_open() -> None:
    """A service that was given no keys answers; what administers it says how to make one."""
    access = await access_with()
    access.check(None, "read")
    access.check(None, "write")
    with pytest.raises(ForbiddenError, match="recsvc keys create NAME --scope admin"):
        access.check("Bearer admin", "admin")


async def test_keys_can_be_required() -> None:
    """Then nothing is open while there is none."""
    access = await access_with(require_keys=True)
    with pytest.raises(ForbiddenError, match="recsvc keys create NAME --scope read"):
        access.check(None, "read")


async def test_keys_that_cannot_be_read() -> None:
    """Before the first answer only what needs a key waits for it; after it the last one counts."""
    store = Store()
    store.keys = None
    access, strict = (Access(store, require_keys=required) for required in (False, True))
    access.check(None, "write")
    for checked, scope in ((access, "admin"), (strict, "read")):
        with pytest.raises(StateUnavailableError):
            checked.check("Bearer admin", scope)  # type: ignore[arg-type] # scopes, told apart
    store.keys = [key("admin")]
    await access.refresh()
    store.keys = None
    with pytest.raises(StateUnavailableError):
        await access.refresh()
    access.check("Bearer admin", "admin")
    with pytest.raises(UnauthorizedError):
        access.check(None, "read")


@pytest.mark.parametrize(
    ("operation", "method", "scope"),
    [
        ("recommend", "POST", "read"),
        ("getRecommendations", "GET", "read"),
        ("exportUser", "GET", "write"),
        ("recordEvents", "POST", "write"),
        ("eraseUser", "DELETE", "write"),
        ("activateModel", "POST", "admin"),
        ("rollBackModel", "POST", "admin"),
    ],
)
def test_what_an_operation_needs(operation: str, method: str, scope: Scope) -> None:
    """Lists are read, even by POST; changing or exporting data takes a writer; changing the model
    an administrator."""
    assert scope_of(operation, {method}) == scope
