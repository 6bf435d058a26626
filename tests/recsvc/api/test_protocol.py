"""What every route has in common: problems, limits, paths, documentation, health."""

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.recsvc.api.calls import problem
from tests.recsvc.api.conftest import MAX_BODY_BYTES

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{'a': 1}", b"\xff\xfe", b'{"events": [}', b"[" * 100_000]
)
def test_malformed_json_is_a_400(http: httpx.Client, body: bytes) -> None:
    """What cannot be read as JSON is told apart from what is wrong in it."""
    answer = http.post("/v1/events", content=body, headers=JSON)
    problem(answer, 422 if body == b"" else 400)


def test_another_content_type_is_a_400(http: httpx.Client) -> None:
    """A form is no JSON; the problem says what to send."""
    answer = http.post("/v1/events", data={"events": "[]"})
    assert "application/json" in problem(answer, 400)["detail"]


def test_an_announced_oversized_body_is_a_413(http: httpx.Client) -> None:
    """A body whose length is above the limit is refused by its announcement."""
    answer = http.post("/v1/events", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)
    assert str(MAX_BODY_BYTES) in problem(answer, 413)["detail"]


def test_a_streamed_oversized_body_is_a_413(http: httpx.Client) -> None:
    """A body that does not announce its length is counted as it comes."""

    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65_536 + 2):
            yield b" " * 65_536

    problem(http.post("/v1/events", content=chunks(), headers=JSON), 413)


def test_a_body_at_the_limit_is_read(http: httpx.Client) -> None:
    """The limit itself is allowed."""
    body = b'{"events": []}'
    answer = http.post("/v1/events", content=body.ljust(MAX_BODY_BYTES), headers=JSON)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/nope", "/v1/users/a/b", "/v1/items/", "/v1/items/a/b"])
def test_an_unknown_path_is_a_404(http: httpx.Client, path: str) -> None:
    """A problem, not a page; a slash in an id must be encoded."""
    problem(http.get(path), 404)


def test_a_wrong_method_is_a_405(http: httpx.Client) -> None:
    """The problem and the Allow header name the right one."""
    answer = http.get("/v1/events")
    assert "POST" in problem(answer, 405)["detail"]
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1/users/%FF/recommendations", "/v1/items/%C3%28"])
def test_a_path_that_is_no_utf8_is_a_422(http: httpx.Client, path: str) -> None:
    """Percent-encoded bytes that are no text are refused."""
    assert "UTF-8" in problem(http.get(path), 422)["detail"]


def test_an_overlong_id_in_a_path_is_a_422(http: httpx.Client) -> None:
    """256 characters are allowed, counted after decoding."""
    assert http.get(f"/v1/users/{'%C3%A4' * 256}/recommendations").status_code == 200
    problem(http.get(f"/v1/users/{'%C3%A4' * 257}/recommendations"), 422)


def test_every_operation_is_documented(http: httpx.Client) -> None:
    """Operation ids are stable, bodies and answers have examples, problems are problem+json."""
    document = http.get("/openapi.json").json()
    operations = {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
    }
    assert {
        "recordEvents", "getRecommendations", "recommend", "similarItems", "putItem", "postItems",
        "getItem", "hideItem", "putUser", "exportUser", "eraseUser", "listModels",
        "livez", "readyz", "metrics",
    } == operations.keys()  # fmt: skip
    schemas = document["components"]["schemas"]
    for name, operation in operations.items():
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [answer.get("content", {}) for answer in operation["responses"].values()]
        for content in contents:
            if "application/json" in content:
                reference = content["application/json"]["schema"]["$ref"]
                assert "examples" in schemas[reference.rpartition("/")[2]], name
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (name, status)


def test_parameters_of_a_list_are_documented(http: httpx.Client) -> None:
    """Every query parameter has its type and says what it does."""
    document = http.get("/openapi.json").json()
    operation = document["paths"]["/v1/users/{user_id}/recommendations"]["get"]
    named = {p["name"]: p for p in operation["parameters"] if p["in"] == "query"}
    assert {
        "k", "exclude_seen", "category", "explain", "diversity", "explore",
    } == named.keys()  # fmt: skip
    assert (named["k"]["schema"]["type"], named["k"]["schema"]["default"]) == ("integer", 10)
    assert all(p["description"] and not p["required"] for p in named.values())


def test_docs_are_served(http: httpx.Client) -> None:
    """The reference is at /docs."""
    assert "recsvc" in http.get("/docs").text


def test_health(http: httpx.Client) -> None:
    """Alive, ready, with the version that serves."""
    assert http.get("/livez").json() == {"status": "alive"}
    ready = {"status": "ready", "model_version": "v1", "redis": "ok"}
    assert ready == http.get("/readyz").json()


def test_models_are_listed(http: httpx.Client) -> None:
    """The serving version with its facts."""
    found = http.get("/v1/models").json()
    assert found["versions"] == [{"version": "v1", "role": "active"}]
    assert (found["active"]["dataset"], found["current"]) == ("checkerboard", "v1")


def test_metrics_are_by_route_template(http: httpx.Client) -> None:
    """Ids never become labels."""
    http.get("/v1/users/secret-id/recommendations")
    text = http.get("/metrics").text
    assert 'route="/v1/users/{user_id}/recommendations"' in text
    assert "secret-id" not in text


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["events", "support", "k", "user_id", "item_id", "filter", "features"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_any_json_is_answered_or_refused(http: httpx.Client, body: object) -> None:
    """No JSON whatever makes the service fail: 200, or a problem of the 400s."""
    import json

    for path in ("/v1/events", "/v1/recommendations", "/v1/items"):
        answer = http.post(path, content=json.dumps(body), headers=JSON)
        if answer.status_code != 200:
            assert answer.status_code in (400, 422)
            problem(answer, answer.status_code)
