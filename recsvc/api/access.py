"""Who may do what: the API keys as this process last read them, and what each operation needs.

While no key exists the service is open, its administration excepted. Knows nothing of how keys are
kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from recsvc.errors import ForbiddenError, StateUnavailableError, UnauthorizedError
from recsvc.state.api_keys import ApiKey, Scope, hash_key

POLL_S = 1.0
"""How often the keys are read: how long a revoked one may still be good for."""
CREATE = "create one with: recsvc keys create NAME --scope {scope} --redis-url URL"

_READING_POSTS = frozenset({"recommend"})
_WRITERS_READ = frozenset({"exportUser"})
"""What shows all that is kept about somebody is for those who may erase it."""
_ADMINISTRATION = frozenset({"activateModel", "rollBackModel"})

_log = structlog.get_logger("recsvc.access")


class Access:
    """The keys known here.

    Args:
        read: every key there is.
        require_keys: refuse whoever has none, even while none exists.
    """

    def __init__(
        self, read: Callable[[], Awaitable[Sequence[ApiKey]]], *, require_keys: bool
    ) -> None:
        self._read = read
        self._require_keys = require_keys
        self._keys: dict[str, ApiKey] | None = None

    async def refresh(self) -> None:
        """Read the keys.

        Raises:
            StateUnavailableError: the store does not answer; what was read last goes on.
        """
        self._keys = {key.sha256: key for key in await self._read()}

    async def run(self) -> None:
        """Read the keys again and again until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh()
            except StateUnavailableError as exc:
                _log.debug("keys out of reach", error=str(exc))

    def check(self, authorization: str | None, scope: Scope) -> None:
        """Let a request pass, or not.

        Args:
            authorization: its header.
            scope: what the operation needs.

        Raises:
            UnauthorizedError: it has no key, or an unknown one.
            ForbiddenError: its key does not reach that far, or none exists that could.
            StateUnavailableError: the keys could not be read yet.
        """
        if not self._keys:
            self._check_without_keys(scope)
            return
        kind, _, key = (authorization or "").partition(" ")
        known = self._keys.get(hash_key(key.strip())) if kind.lower() == "bearer" else None
        if known is None:
            said = "none was sent" if authorization is None else "the one sent is unknown"
            raise UnauthorizedError(
                f"an API key is needed and {said}; send Authorization: Bearer KEY"
            )
        if not known.allows(scope):
            raise ForbiddenError(
                f"key {known.key_id} has scope {known.scope!r} and this needs {scope!r}; "
                + CREATE.format(scope=scope)
            )

    def _check_without_keys(self, scope: Scope) -> None:
        if not self._require_keys and scope != "admin":
            return
        if self._keys is None:
            raise StateUnavailableError(
                "the API keys could not be read yet; try again", retry_after_s=POLL_S
            )
        raise ForbiddenError(
            f"no API key exists, and this needs one of scope {scope!r}; "
            + CREATE.format(scope=scope)
        )


def scope_of(operation_id: str | None, methods: set[str]) -> Scope:
    """What an operation needs."""
    if operation_id in _ADMINISTRATION:
        return "admin"
    if operation_id in _WRITERS_READ:
        return "write"
    return "read" if methods <= {"GET"} or operation_id in _READING_POSTS else "write"
