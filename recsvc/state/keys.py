"""Names of the keys in Redis, and the partition that a user belongs to.

All keys of a user share a hash slot with their partition of the event log (the part in braces is
what Redis Cluster hashes), so one script may touch them together. Knows nothing of their contents.

    recsvc:partitions             P, written at first use
    recsvc:keys                   hash: API keys, see `api_keys`
    {p17}:log                     stream: events, feature changes and erasures; no TTL
    {p17}:u:<id>:support          sorted set: the bounded support set
    {p17}:u:<id>:meta             hash: revision, features
    {p17}:u:<id>:state            hash: model version -> revision and adapted state
    {p17}:u:<id>:seen             sorted set: event ids by the time they were stored
    {p17}:u:<id>:taken            set: numbers of up to 512 items that the user took
    {p17}:u:<id>:merged           hash of the id that this user was merged into
    {items}:state                 hash: item id -> features or null (hidden); no TTL
    {items}:changes               stream of changes to it
    {items}:meta                  hash: number of changes so far
    {items}:supported             hash: item id -> see `item_supports`; no TTL
    {items}:i:<id>:support        hash: user id -> why the user counts for the item
    {items}:u:<id>:items          hash: item id -> revision of the user that decided; no TTL
    {items}:supporters            sorted set: users by when their records end; no TTL
    {items}:supports              stream of changes to them, without users
    {items}:supports-meta         hash: number of those changes, positive events of all users
    {items}:erased:<hash>         an erasure that is not over yet; lives for two minutes
"""

import hashlib
from dataclasses import dataclass

from recsvc.errors import InvalidInputError

PARTITIONS_KEY = b"recsvc:partitions"
ITEMS_STATE = b"{items}:state"
ITEMS_CHANGES = b"{items}:changes"
ITEMS_META = b"{items}:meta"
ITEMS_SUPPORTED = b"{items}:supported"
ITEMS_SUPPORTS = b"{items}:supports"
ITEMS_SUPPORTS_META = b"{items}:supports-meta"
ITEMS_SUPPORTERS = b"{items}:supporters"

MAX_ID_CHARS = 256


@dataclass(frozen=True, slots=True)
class UserKeys:
    """The keys that one user's script may touch; all in one hash slot."""

    log: bytes
    support: bytes
    meta: bytes
    state: bytes
    seen: bytes
    taken: bytes
    merged: bytes

    @property
    def own(self) -> tuple[bytes, ...]:
        """The keys that hold nothing but this user's data."""
        return (self.support, self.meta, self.state, self.seen, self.taken)


def encode_id(name: str, value: str) -> bytes:
    """An id as it is stored: UTF-8.

    Args:
        name: what the id is called in a message, for example `user_id`.
        value: 1 to 256 characters.

    Raises:
        InvalidInputError: it is empty, too long, or holds half of a surrogate pair.
    """
    if not 1 <= len(value) <= MAX_ID_CHARS:
        raise InvalidInputError(
            f"{name} {value[:40]!r} has {len(value)} characters; 1 to {MAX_ID_CHARS} are allowed"
        )
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise InvalidInputError(
            f"{name} {value[:40]!r} is not valid Unicode (a lone surrogate); send whole characters"
        ) from exc


def partition_of(user: bytes, partitions: int) -> int:
    """The partition of an encoded user id; stable across processes, machines and versions."""
    digest = hashlib.blake2b(user, digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions


def log_key(partition: int) -> bytes:
    """The stream of one partition."""
    return b"{p%d}:log" % partition


def user_keys(user: bytes, partitions: int) -> UserKeys:
    """The keys of an encoded user id."""
    p = partition_of(user, partitions)
    # The id may hold any character: the last ":" ends it, because no suffix holds one.
    stem = b"{p%d}:u:%b:" % (p, user)
    names = (b"support", b"meta", b"state", b"seen", b"taken", b"merged")
    return UserKeys(log_key(p), *(stem + name for name in names))


def item_number(item_id: str) -> int:
    """Tells an item from a user's others in eight bytes; 48 bits."""
    return int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=6).digest(), "big")


def erasure_hash(user: bytes) -> bytes:
    """What an erasure leaves of an id: enough to recognise its rows in an archive, not the id."""
    return hashlib.sha256(b"recsvc-erasure:" + user).hexdigest().encode()


def item_support_key(item: bytes) -> bytes:
    """Who counts for an encoded item id."""
    return b"{items}:i:%b:support" % item


def user_items_key(user: bytes) -> bytes:
    """The items that an encoded user id counts for, or no longer does."""
    return b"{items}:u:%b:items" % user


def erasure_key(user: bytes) -> bytes:
    """Says that a user is being erased; holds a hash of the id alone."""
    return b"{items}:erased:%b" % erasure_hash(user)
