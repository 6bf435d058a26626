"""Recording events over HTTP."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.recsvc.api.calls import ids, listed, problem, ranked, record
from tests.recsvc.bundles import BLACK, WHITE


def export(http: httpx.Client, user: str) -> dict[str, Any]:
    answer = http.get(f"/v1/users/{user}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_repeated_event_counts_once(http: httpx.Client, user: str) -> None:
    """The same event id is a duplicate, in another call and in the same one."""
    event = {"event_id": "e1", "user_id": user, "item_id": WHITE[0]}
    first = http.post("/v1/events", json={"events": [event, event]}).json()
    assert first == {"accepted": 1, "duplicates": 1}
    again = http.post("/v1/events", json={"events": [event]}).json()
    assert again == {"accepted": 0, "duplicates": 1}
    assert len(export(http, user)["events"]) == 1


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def test_events_out_of_order(http: httpx.Client, user: str) -> None:
    """Time decides, not arrival: the latest opinion wins wherever it stands."""
    late = {"user_id": user, "item_id": WHITE[0], "value": 1, "timestamp": in_hours(-1)}
    early = {"user_id": user, "item_id": WHITE[0], "value": 5, "timestamp": 0}
    answer = http.post("/v1/events", json={"events": [late, early]})
    assert answer.json()["accepted"] == 2
    assert BLACK[:3] == ids(listed(http, user, k=3))


def test_an_event_from_the_future_does_not_shadow_what_comes_after_it(
    http: httpx.Client, user: str
) -> None:
    """A clock that is hours ahead is told back as sent, and counts as of its arrival."""
    ahead = in_hours(5)
    record(http, user, WHITE[0], value=1, timestamp=ahead)
    assert BLACK[:3] == ids(listed(http, user, k=3))
    record(http, user, WHITE[0], value=5)
    assert WHITE[1:4] == ids(listed(http, user, k=3))
    first, second = export(http, user)["events"]
    assert datetime.fromisoformat(ahead) - datetime.fromisoformat(first["timestamp"]) < timedelta(
        milliseconds=1
    )
    assert first["arrived"] <= second["timestamp"]
    assert "arrived" not in second
    session = [{"item_id": WHITE[0], "value": 1, "timestamp": in_hours(3)}]
    assert BLACK[:3] == ids(ranked(http, user_id=user, support=session, k=3))


def test_an_event_far_in_the_future_is_refused(http: httpx.Client, user: str) -> None:
    """More than a day ahead is a mistake: 422 that names the event, its time and the remedy."""
    far = {"user_id": user, "item_id": WHITE[1], "timestamp": "2099-01-01T00:00:00Z"}
    events = [{"user_id": user, "item_id": WHITE[0]}, far]
    detail = problem(http.post("/v1/events", json={"events": events}), 422)["detail"]
    assert "events.1.timestamp=2099-01-01T00:00:00" in detail
    assert "max_event_lead_s" in detail
    assert "clock" in detail
    problem(http.get(f"/v1/users/{user}"), 404)
    support = [{"item_id": WHITE[0]}, {"item_id": WHITE[1], "timestamp": in_hours(25)}]
    refused = problem(http.post("/v1/recommendations", json={"support": support}), 422)
    assert "support.1.timestamp" in refused["detail"]


def test_an_unknown_item_is_kept_and_counted(http: httpx.Client, user: str) -> None:
    """An event on an item that comes later counts from then on."""
    later = f"later-for-{user}"
    assert record(http, user, later) == {"accepted": 1, "duplicates": 0, "unknown_items": 1}
    before = listed(http, user, k=3)
    assert (before["strategy"], before["adaptation"]["skipped"]) == ("popular", 1)
    http.put(f"/v1/items/{later}", json={"features": {"colour": "white"}}).raise_for_status()
    after = listed(http, user, k=3)
    assert (after["strategy"], after["adaptation"]["skipped"]) == ("adapted", 0)
    assert all(i not in BLACK for i in ids(after))
    assert http.delete(f"/v1/items/{later}").status_code == 204


def test_time_and_id_are_made_where_they_are_missing(http: httpx.Client, user: str) -> None:
    """An event without time happened now, and gets an id of its own."""
    before_ms = datetime.now(UTC).timestamp() * 1000
    record(http, user, WHITE[0], WHITE[1])
    after_ms = datetime.now(UTC).timestamp() * 1000
    events = export(http, user)["events"]
    times_ms = [datetime.fromisoformat(e["timestamp"]).timestamp() * 1000 for e in events]
    assert all(before_ms - 1 <= time_ms <= after_ms for time_ms in times_ms)
    assert len({e["event_id"] for e in events}) == 2


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T13:00:00.5+01:00", "2026-01-31T12:00:00.500000+00:00"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        (1_769_860_800, "2026-01-31T12:00:00+00:00"),
        (1_769_860_800.25, "2026-01-31T12:00:00.250000+00:00"),
        (-1, "1969-12-31T23:59:59+00:00"),
    ],
)
def test_times_are_text_or_seconds(
    http: httpx.Client, user: str, timestamp: Any, expected: str
) -> None:
    """RFC 3339, without an offset UTC; or seconds since 1970. The export has them as text."""
    record(http, user, WHITE[0], timestamp=timestamp)
    assert [expected] == [e["timestamp"] for e in export(http, user)["events"]]


def test_fields_of_an_event_are_kept(http: httpx.Client, user: str) -> None:
    """Type, value and the list that led to it are part of the export."""
    record(http, user, WHITE[0], event="buy", value=4.5, recommendation_id="r1", page="ignored")
    (event,) = export(http, user)["events"]
    assert (event["event"], event["value"], event["recommendation_id"]) == ("buy", 4.5, "r1")
    assert "page" not in event


def test_ten_thousand_events_in_one_call(http: httpx.Client, user: str) -> None:
    """The largest batch is stored completely; one more is refused completely."""
    events = [{"user_id": f"{user}-{n % 50}", "item_id": WHITE[n % 32]} for n in range(10_000)]
    answer = http.post("/v1/events", json={"events": events})
    assert answer.json() == {"accepted": 10_000, "duplicates": 0}
    more = http.post("/v1/events", json={"events": [*events, {"user_id": user, "item_id": "a"}]})
    assert "10001 events" in problem(more, 413)["detail"]
    problem(http.get(f"/v1/users/{user}"), 404)


def test_no_events_are_ordinary(http: httpx.Client) -> None:
    """An empty batch is accepted and does nothing."""
    answer = http.post("/v1/events", json={"events": []})
    assert answer.json() == {"accepted": 0, "duplicates": 0}


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({"item_id": "a"}, "events.1.user_id"),
        ({"user_id": "u"}, "events.1.item_id"),
        ({"user_id": "u", "item_id": "a", "value": "much"}, "events.1.value"),
        ({"user_id": "u", "item_id": "a", "timestamp": True}, "events.1.timestamp"),
        ({"user_id": "u", "item_id": "a", "timestamp": 1e18}, "events.1.timestamp"),
        ({"user_id": "u", "item_id": "a", "timestamp": 10**40}, "events.1.timestamp"),
        ({"user_id": "u", "item_id": "a", "timestamp": "2026-02-30"}, "events.1.timestamp"),
        ("text", "events.1"),
    ],
)
def test_one_wrong_event_refuses_all(http: httpx.Client, user: str, event: Any, named: str) -> None:
    """A batch with a wrong event is a 422 that names it, and nothing of it is stored."""
    body = json.dumps({"events": [{"user_id": user, "item_id": WHITE[0]}, event]})
    answer = http.post("/v1/events", content=body, headers={"content-type": "application/json"})
    assert named in problem(answer, 422)["detail"]
    problem(http.get(f"/v1/users/{user}"), 404)


ID = st.text(min_size=1, max_size=256).filter(
    lambda s: not any("\ud800" <= c <= "\udfff" for c in s)
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(user_id=ID, item_id=ID, event_id=ID)
def test_ids_may_be_any_unicode(
    http: httpx.Client, user_id: str, item_id: str, event_id: str
) -> None:
    """Whatever an id is made of, it is stored, found, exported and erased under it."""
    from urllib.parse import quote

    path = f"/v1/users/{quote(user_id, safe='')}"
    if user_id in (".", ".."):  # clients resolve these in a path before they send it
        return
    event = {"user_id": user_id, "item_id": item_id, "event_id": event_id, "timestamp": 0}
    assert http.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
    (kept,) = http.get(path).json()["events"]
    assert (item_id, event_id) == (kept["item_id"], kept["event_id"])
    assert http.get(f"{path}/recommendations").status_code == 200
    assert user_id == http.delete(path).json()["user_id"]
    problem(http.get(path), 404)
