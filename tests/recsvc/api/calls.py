"""Requests that many tests make, and what is read from their answers."""

from typing import Any

import httpx


def record(http: httpx.Client, user: str, *item_ids: str, **fields: Any) -> dict[str, Any]:
    """Post one event an item; the answer."""
    events = [{"user_id": user, "item_id": i, **fields} for i in item_ids]
    answer = http.post("/v1/events", json={"events": events})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def listed(http: httpx.Client, user: str, **parameters: Any) -> dict[str, Any]:
    """A stored user's list."""
    answer = http.get(f"/v1/users/{user}/recommendations", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ranked(http: httpx.Client, **body: Any) -> dict[str, Any]:
    """A list for a session."""
    answer = http.post("/v1/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    """The items of a list, best first."""
    return [item["item_id"] for item in answer["items"]]


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail"} <= found.keys()
    assert found["status"] == status
    return found
