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


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_cannot_be_told_back_is_refused(http: httpx.Client, time: str) -> None:
    """What was accepted can be exported; these cannot, so they are not accepted."""
    event = {"user_id": "edge", "item_id": "a", "timestamp": time}
    assert "timestamp" in problem(http.post("/v1/events", json={"events": [event]}), 422)["detail"]
