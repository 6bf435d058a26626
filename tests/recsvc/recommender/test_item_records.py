"""What is kept of a user who took an item."""

from recsvc.contract.manifest import MAX_OTHER_ITEMS, InteractionRules, PositiveRule
from recsvc.recommender.item_records import record_of
from recsvc.recommender.values import SessionEvent

RULES = InteractionRules(
    positive=PositiveRule(threshold=4.0), event_weights={"buy": 2.0, "impression": 0.0}
)


def took(item_id: str, value: float | None = None, event: str | None = None) -> SessionEvent:
    return SessionEvent(item_id, event, value)


def test_the_other_items_are_kept_as_they_were_judged() -> None:
    """One row an item, by its latest event, oldest first; the item itself is not among them."""
    events = [took("a", 5), took("b", 1), took("new", 4, "buy"), took("a", 2), took("c")]
    assert record_of("new", events, RULES) == {
        "event": "buy",
        "value": 4,
        "others": [["b", None, 1], ["a", None, 2], ["c", None, None]],
    }


def test_the_last_word_on_the_item_decides() -> None:
    """Contradicted, there is nothing to keep; liked again there is. Impressions say nothing."""
    liked, disliked = took("new", 5), took("new", 1)
    seen = took("new", None, "impression")
    assert record_of("new", [liked, disliked], RULES) is None
    assert record_of("new", [disliked, liked, seen], RULES) is not None
    assert record_of("new", [seen], RULES) is None
    assert record_of("new", [took("a")], RULES) is None


def test_a_record_is_bounded() -> None:
    """The most recent other items are kept."""
    events = [took("new"), *(took(f"i{n}") for n in range(100)), took("z", None, "impression")]
    record = record_of("new", events, RULES)
    assert record is not None
    assert [o[0] for o in record["others"]] == [f"i{n}" for n in range(100 - MAX_OTHER_ITEMS, 100)]


def test_liked_items_have_room_before_others() -> None:
    """What is positive makes a state; what is not is kept where there is room, in its place."""
    liked = [took(f"i{n}", 5) for n in range(MAX_OTHER_ITEMS - 1)]
    disliked = [took(f"d{n}", 1) for n in range(MAX_OTHER_ITEMS)]
    record = record_of("new", [liked[0], *disliked, *liked[1:], took("new", 5)], RULES)
    assert record is not None
    assert [o[0] for o in record["others"]] == [
        "i0",
        disliked[-1].item_id,
        *(e.item_id for e in liked[1:]),
    ]
    record = record_of("new", [took("z", 5), *liked, *disliked, took("new", 5)], RULES)
    assert record is not None
    assert [o[0] for o in record["others"]] == ["z", *(e.item_id for e in liked)]
