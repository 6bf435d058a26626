"""Limits of a request: what would hold the worker or the store is refused at once, and named."""

from typing import Any

import httpx
import pytest

from tests.recsvc.api.calls import problem


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/v1/recommendations", {"filter": {"colour": [f"c{i}" for i in range(101)]}}, "filter"),
        ("/v1/recommendations", {"filter": {f"c{i}": 1 for i in range(33)}}, "filter"),
        ("/v1/recommendations", {"filter": {"colour": "x" * 1001}}, "filter.colour"),
        ("/v1/recommendations", {"candidates": ["x"] * 100_001}, "candidates"),
        ("/v1/events", {"events": [1] * 200_000}, "events"),
        ("/v1/events", {"events": [{"user_id": "u", "item_id": "a", "event": "x" * 257}]}, "event"),
    ],
)
def test_what_is_too_long_is_refused(
    http: httpx.Client, path: str, body: dict[str, Any], named: str
) -> None:
    """422 that names the field."""
    assert named in problem(http.post(path, json=body), 422)["detail"]


FEW = {f"f{i}": i for i in range(200)}
LONG = "x" * 20_000


def test_features_at_the_limits_are_kept(http: httpx.Client, user: str) -> None:
    """200 features, 200 values of one, 20,000 characters: all of it is allowed."""
    features = {**FEW, "f0": LONG, "f1": list(range(200))}
    http.put(f"/v1/users/{user}", json={"features": features}).raise_for_status()
    assert features == http.get(f"/v1/users/{user}").json()["features"]


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ({**FEW, "one more": 1}, "features has 201 entries"),
        ({"title": LONG + "x"}, "features.title has 20001 characters"),
        ({"tags": ["a", LONG + "x"]}, "features.tags has 20001 characters"),
        ({"tags": list(range(201))}, "features.tags has 201 entries"),
    ],
)
def test_features_beyond_the_limits_are_refused(
    http: httpx.Client, user: str, features: dict[str, Any], named: str
) -> None:
    """The same for users, items and requests: 422 that names feature, size, limit and setting."""
    item = {"item_id": f"item-{user}", "features": features}
    for method, path, body in (
        ("PUT", f"/v1/users/{user}", {"features": features}),
        ("PUT", f"/v1/items/item-{user}", {"features": features}),
        ("POST", "/v1/items", item),
        ("POST", "/v1/items", {"items": [item]}),
        ("POST", "/v1/recommendations", {"user_features": features}),
    ):
        detail = problem(http.request(method, path, json=body), 422)["detail"]
        assert named in detail
        assert "max_feature" in detail
    problem(http.get(f"/v1/users/{user}"), 404)
    problem(http.get(f"/v1/items/item-{user}"), 404)


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_cannot_be_told_back_is_refused(http: httpx.Client, time: str) -> None:
    """What was accepted can be exported; these cannot, so they are not accepted."""
    event = {"user_id": "edge", "item_id": "a", "timestamp": time}
    assert "timestamp" in problem(http.post("/v1/events", json={"events": [event]}), 422)["detail"]
