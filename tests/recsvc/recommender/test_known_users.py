"""The users that are remembered for the time when the store is gone."""

import gc

import orjson
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommender.known_users import KnownUsers
from recsvc.state.events import Event


def events(count: int) -> tuple[Event, ...]:
    return tuple(Event("u", f"i{n}", None, None, n, f"e{n}") for n in range(count))


def test_what_was_put_is_given() -> None:
    """A user's last events and features are given back."""
    known = KnownUsers(lambda: 0.0)
    known.put("u", events(1), {"age": 3})
    known.put("u", events(2), None)
    found = known.get("u")
    assert found is not None
    assert (events(2), None) == (found.events, found.features)
    assert known.get("v") is None


def test_an_old_user_is_not_given() -> None:
    """After the age limit a user is as if never read, and leaves when another comes."""
    now = [0.0]
    known = KnownUsers(lambda: now[0], max_age_s=10.0)
    known.put("old", events(1), None)
    now[0] = 10.5
    assert known.get("old") is None
    known.put("new", events(1), None)
    assert len(known) == 1


def test_a_forgotten_user_is_gone() -> None:
    """Forgetting takes effect at once and is harmless when repeated."""
    known = KnownUsers(lambda: 0.0)
    known.put("u", events(1), None)
    known.forget("u")
    known.forget("u")
    assert known.get("u") is None


def test_the_garbage_collector_has_nothing_to_walk() -> None:
    """However many users are remembered, a full collection costs no more."""
    known = KnownUsers(lambda: 0.0)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1000):
        known.put(f"u{number}", events(3), orjson.loads(b'{"age": 31, "city": "Ulm"}'))
    for _ in range(3):  # a tuple is let go one collection after what it holds
        gc.collect()
    assert len(known) == 1000
    assert len(gc.get_objects()) - before < 100


@given(sizes=st.lists(st.integers(min_value=0, max_value=30), max_size=40))
def test_rows_stay_within_the_limit(sizes: list[int]) -> None:
    """Least recently read users leave first; the total never exceeds the limit."""
    known = KnownUsers(lambda: 0.0, max_rows=50)
    for number, size in enumerate(sizes):
        known.put(str(number), events(size), None)
    kept = [n for n in range(len(sizes)) if known.get(str(n)) is not None]
    assert sum(1 + sizes[n] for n in kept) <= 50
    assert list(range(len(sizes) - len(kept), len(sizes))) == kept
