"""The OpenAPI document: complete, true, and with examples that fit its own schemas."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.recsvc.api.calls import problem

OPERATIONS = {
    "recordEvents": "POST /v1/events",
    "getRecommendations": "GET /v1/users/{user_id}/recommendations",
    "recommend": "POST /v1/recommendations",
    "similarItems": "GET /v1/items/{item_id}/similar",
    "putItem": "PUT /v1/items/{item_id}",
    "postItems": "POST /v1/items",
    "getItem": "GET /v1/items/{item_id}",
    "hideItem": "DELETE /v1/items/{item_id}",
    "putUser": "PUT /v1/users/{user_id}",
    "exportUser": "GET /v1/users/{user_id}",
    "eraseUser": "DELETE /v1/users/{user_id}",
    "mergeUsers": "POST /v1/users/{target}/merge/{source}",
    "listModels": "GET /v1/models",
    "activateModel": "POST /v1/models/{version}/activate",
    "rollBackModel": "POST /v1/models/rollback",
    "livez": "GET /livez",
    "readyz": "GET /readyz",
    "metrics": "GET /metrics",
}
"""Callers generate code from these names: a change breaks it."""
PROBES = {"livez", "readyz", "metrics"}
PROBLEM = {"$ref": "#/components/schemas/Problem"}


@pytest.fixture(scope="module")
def document(service: Any) -> dict[str, Any]:
    """The document as it is served."""
    found: dict[str, Any] = service.http.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Operation id, method, path, operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield operation["operationId"], method.upper(), path, operation


def examples(document: dict[str, Any], content: dict[str, Any]) -> list[Any]:
    """The examples of a body, its own or those of the model that it refers to."""
    if "example" in content:
        return [content["example"]]
    name = content["schema"]["$ref"].rpartition("/")[2]
    found: list[Any] = document["components"]["schemas"][name]["examples"]
    return found


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Fail where a value does not fit a schema of the document."""
    whole = {**schema, "components": document["components"]}
    errors = [error.message for error in Draft202012Validator(whole).iter_errors(value)]
    assert errors == [], (schema, value)


def test_operation_ids_are_stable(document: dict[str, Any]) -> None:
    """Each operation has the name it always had, a line and a text about it, and one tag."""
    found = {name: f"{method} {path}" for name, method, path, _ in operations(document)}
    assert found == OPERATIONS
    for name, _, _, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert len(operation["tags"]) == 1, name


def test_every_body_and_answer_has_an_example_that_fits(document: dict[str, Any]) -> None:
    """Requests, answers and problems each show what they look like, and it is allowed."""
    for name, _, _, operation in operations(document):
        contents = [*operation.get("requestBody", {}).get("content", {}).values()]
        for answer in operation["responses"].values():
            contents += answer.get("content", {}).values()
        for content in contents:
            shown = examples(document, content)
            assert shown, name
            for example in shown:
                fits(document, content.get("schema", {}), example)


def test_every_parameter_is_described_with_an_example(document: dict[str, Any]) -> None:
    """Each says what it does and shows a value that is allowed."""
    for name, _, _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter["name"])
            for example in parameter["schema"]["examples"]:
                fits(document, parameter["schema"], example)


def test_problems_are_documented_by_status(document: dict[str, Any]) -> None:
    """Every operation names each problem that it can answer with, and shows one of that status."""
    for name, _, path, operation in operations(document):
        statuses = {int(s) for s in operation["responses"]}
        expected = {500} if name in PROBES else {401, 403, 422, 429, 500, 503}
        expected |= {503} if name == "readyz" else set()
        expected |= {400, 408, 413, 415} if "requestBody" in operation else set()
        expected |= (
            {404, 409} if "merge" in path or "POST /v1/models" in OPERATIONS[name] else set()
        )
        expected |= (
            {404} if name in ("getItem", "hideItem", "similarItems", "exportUser") else set()
        )
        assert {s for s in statuses if s >= 400} == expected, name
        assert ("security" in operation) == (name not in PROBES)
        for status in expected:
            answer = operation["responses"][str(status)]
            assert list(answer["content"]) == ["application/problem+json"], (name, status)
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == PROBLEM
            assert content["example"]["status"] == status
            header = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}.get(status)
            assert list(answer.get("headers", {})) == ([header] if header else [])


def test_statuses_that_occur_are_documented(document: dict[str, Any], http: httpx.Client) -> None:
    """What wrong requests are answered with is what the document says."""
    for name, method, template, operation in operations(document):
        path = template.format(
            user_id="nobody", item_id="none", target="a", source="a", version="v9"
        )
        tries: list[dict[str, Any]] = [{}, {"params": {"nix": 1}}]
        if "requestBody" in operation:
            tries += [{"content": b"{"}, {"content": b" " * 3_000_000}, {"json": {"nix": 1}}]
        for sent in tries:
            answer = http.request(method, path, **sent)
            assert str(answer.status_code) in operation["responses"], (name, sent)
            if answer.status_code >= 400:
                fits(document, PROBLEM, problem(answer, answer.status_code))
