"""Which column of an interactions, items or users file plays which role, by its name.

Knows nothing of files or rows. Names are compared in lower case, without a RecBole type suffix
(`user_id:token`) and without underscores, so `userId`, `USER_ID` and `user_id` are one name.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from training.errors import DataError

ROLES: dict[str, tuple[str, ...]] = {
    "user_id": ("user_id", "user", "uid"),
    "item_id": ("item_id", "item", "iid", "movie_id", "product_id"),
    "value": ("value", "rating", "weight", "count"),
    "event": ("event", "event_type"),
    "timestamp": ("timestamp", "time", "datetime", "date"),
    "order": ("order",),
}
"""Accepted names of each role of an interactions file, the preferred first."""

RATING_NAMES = ("rating",)
"""Names of a value column that say that its values are ratings."""


@dataclass(frozen=True, slots=True)
class InteractionColumns:
    """The file's own name of each role that an interactions file plays; None where it has none."""

    user_id: str
    item_id: str
    value: str | None
    event: str | None
    timestamp: str | None
    order: str | None
    ignored: tuple[str, ...]
    """Columns that play no role."""

    @property
    def is_rating(self) -> bool:
        return self.value is not None and plain(self.value) in RATING_NAMES


def plain(name: str) -> str:
    """A column name as it is compared: lower case, no RecBole type, no underscores."""
    return name.split(":", 1)[0].strip().strip("\ufeff").lower().replace("_", "")


def recognise(names: Sequence[str], path: object) -> InteractionColumns:
    """Find the roles among the columns of an interactions file.

    Raises:
        DataError: there is no user or no item column.
    """
    found = {role: _find(role, names) for role in ROLES}
    for role in ("user_id", "item_id"):
        if found[role] is None:
            raise missing_column(role, names, path)
    used = {name for name in found.values() if name is not None}
    return InteractionColumns(
        user_id=str(found["user_id"]),
        item_id=str(found["item_id"]),
        value=found["value"],
        event=found["event"],
        timestamp=found["timestamp"],
        order=found["order"],
        ignored=tuple(n for n in names if n not in used),
    )


def find_id(role: str, names: Sequence[str], path: object) -> str:
    """The id column of an items or users file; there, plain `id` is clear enough.

    Args:
        role: `item_id` or `user_id`.

    Raises:
        DataError: there is none.
    """
    found = _find(role, names) or next((n for n in names if plain(n) == "id"), None)
    if found is None:
        raise missing_column(role, names, path)
    return found


def missing_column(role: str, names: Sequence[str], path: object) -> DataError:
    """The error for a column that has to be there."""
    near = nearest(role, names)
    also = ", ".join(ROLES[role][1:])
    hint = f"; rename {near!r} to {role!r}" if near else f"; name one of them {role!r} (or {also})"
    header = ", or add a header line if the file has none" if near is None else ""
    return DataError(f"{path}: no column {role!r} (found: {', '.join(names)}){hint}{header}")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that looks most like `name`, if any does."""
    by_plain = {plain(n): n for n in names}
    close = difflib.get_close_matches(plain(name), list(by_plain), n=1, cutoff=0.6)
    return by_plain[close[0]] if close else None


def _find(role: str, names: Sequence[str]) -> str | None:
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain(name), name)
    for accepted in ROLES[role]:
        if (found := by_plain.get(plain(accepted))) is not None:
            return found
    return None
