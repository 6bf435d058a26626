"""What every route has in common: problems, limits, paths, documentation, health."""

import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsvc.api.bodies import DRAIN_BYTES
from tests.recsvc.api.calls import problem
from tests.recsvc.api.conftest import MAX_BODY_BYTES

JSON = {"content-type": "application/json"}


def spoken(http: httpx.Client, sent: bytes) -> bytes:
    """All that the service answers to some bytes, until it closes."""
    url = http.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{", 1),
        (b"{'a': 1}", 1),
        (b'{"a\xff": 1}', 3),
        (b'{"events": [}', 12),
        (b'{"events": [1,]}', 13),
        (b'{"events": []} {}', 15),
        (b'{"events": NaN}', 11),
        (b'{"events": -Infinity}', 12),
        (b'{"events": 1e400}', 11),
        (b'{"events": ' + b"1" * 400 + b"}", 11),
        (b'{"events": "\\ud800"}', 12),
        (b"[" * 100_000, 1025),
        (b"[" * 100_000 + b"]" * 100_000, 1025),
    ],
)
def test_malformed_json_is_a_400(http: httpx.Client, body: bytes, place: int) -> None:
    """What cannot be read as JSON is told apart from what is wrong in it, and where it is."""
    detail = problem(http.post("/v1/events", content=body, headers=JSON), 400)["detail"]
    assert "no JSON" in detail
    assert detail.endswith(f"at character {place}")


def test_an_empty_body_is_a_422(http: httpx.Client) -> None:
    """Nothing was sent, so nothing is malformed: the body is missing."""
    problem(http.post("/v1/events", content=b"", headers=JSON), 422)


@pytest.mark.parametrize("levels", [3, 200, 1000])
def test_a_deep_value_is_named_in_short(http: httpx.Client, levels: int) -> None:
    """A value that is nested as deep as is read is refused by its place, not shown in full."""
    body = b'{"events": [' + b"[" * levels + b"]" * levels + b"]}"
    found = problem(http.post("/v1/events", content=body, headers=JSON), 422)
    assert found["errors"][0]["field"] == "events.0"
    assert len(found["detail"]) < 300


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/v1/recommendations", {"k": True}, "k"),
        ("/v1/recommendations", {"k": "5"}, "k"),
        ("/v1/recommendations", {"k": 5.5}, "k"),
        ("/v1/recommendations", {"diversity": "0.5"}, "diversity"),
        ("/v1/recommendations", {"explain": 1}, "explain"),
        ("/v1/recommendations", {"exclude_seen": "no"}, "exclude_seen"),
        ("/v1/recommendations", {"support": [{"item_id": 5}]}, "support.0.item_id"),
        ("/v1/recommendations", {"support": [{"item_id": "a", "value": True}]}, "support.0.value"),
        ("/v1/events", {"events": [{"user_id": "u", "item_id": "a", "value": "5"}]}, "value"),
        ("/v1/events", {"events": {"0": {"user_id": "u", "item_id": "a"}}}, "events"),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(
    http: httpx.Client, path: str, body: dict[str, object], named: str
) -> None:
    """No text is read as a number and no number as a truth: 422 that names the field."""
    assert named in problem(http.post(path, json=body), 422)["detail"]


def test_another_content_type_is_a_400(http: httpx.Client) -> None:
    """A form is no JSON; the problem says what to send."""
    answer = http.post("/v1/events", data={"events": "[]"})
    assert "application/json" in problem(answer, 400)["detail"]


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 8 * MAX_BODY_BYTES])
def test_an_announced_oversized_body_is_a_413(http: httpx.Client, size: int) -> None:
    """A client that sends all of its body before it reads gets the answer all the same."""
    answer = http.post("/v1/events", content=b" " * size, headers=JSON)
    assert str(MAX_BODY_BYTES) in problem(answer, 413)["detail"]


@pytest.mark.parametrize("head", ["Expect: 100-continue", f"X-Size: {DRAIN_BYTES}"])
def test_a_body_that_is_not_sent_yet_is_refused_at_once(http: httpx.Client, head: str) -> None:
    """Who asks first, or announces more than would be read, gets the 413 without sending any."""
    length = MAX_BODY_BYTES + 1 if head.startswith("Expect") else DRAIN_BYTES + 1
    text = f"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{head}\r\n\r\n"
    answer = spoken(http, text.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"max_body_bytes" in answer


@pytest.mark.parametrize(
    "request_", [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01"]
)
def test_what_is_no_http_is_a_400(http: httpx.Client, request_: bytes) -> None:
    """Bytes that no route ever sees are answered with a problem too."""
    head, _, body = spoken(http, request_).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == 400


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


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/events", "POST"),
        ("PATCH", "/v1/items/a%2Fb", "DELETE, GET, PUT"),
        ("POST", "/v1/users/u", "DELETE, GET, PUT"),
        ("POST", "/readyz", "GET"),
        ("DELETE", "/docs", "GET"),
    ],
)
def test_a_wrong_method_is_a_405(http: httpx.Client, method: str, path: str, allowed: str) -> None:
    """The problem and the Allow header name all the right ones."""
    answer = http.request(method, path)
    assert problem(answer, 405)["detail"] == f"{method} is not allowed here; allowed: {allowed}"
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/events", [], "body=[]: a JSON object {...} is wanted here"),
        ("/v1/events", {"events": ["a"]}, "events.0='a': a JSON object {...} is wanted here"),
        ("/v1/recommendations", {"suport": []}, "suport=[]: no such field: known are candidates, "),
        ("/v1/items", {"items": [{"item_id": "a", "features": {}, "x": 1}]}, "no such field"),
        ("/v1/items", {"item_id": "a", "features": {"f": {}}}, "features.f={}: text, a number of"),
        ("/v1/recommendations", {"filter": {"f": []}}, "filter.f=[]: text of at most 1000 "),
        ("/v1/recommendations", {"filter": {"f": [None]}}, "filter.f=[None]: text of at most"),
    ],
)
def test_what_is_wanted_is_said_in_words_of_json(
    http: httpx.Client, path: str, body: object, message: str
) -> None:
    """One sentence for a wrong field, not one for each type that it might have had."""
    found = problem(http.post(path, json=body), 422)
    assert message in found["detail"]
    assert len(found["errors"]) == 1 or "suport" in message


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("/v1/users/u/recommendations?kk=5", "kk='5'", "did you mean 'k'? known here: category, "),
        ("/v1/users/u/recommendations?explai", "explai=''", "did you mean 'explain'? known here:"),
        ("/v1/items/black-00/similar?k=3&n=4", "n='4'", "known here: k"),
        ("/v1/items/black-00?k=3", "k='3'", "there is none here"),
        ("/v1/models?v=1&w=2", "w='2'", "there is none here"),
    ],
)
def test_an_unknown_query_parameter_is_a_422(
    http: httpx.Client, path: str, value: str, message: str
) -> None:
    """It is named, with the ones that there are: a misspelt one would change nothing in silence."""
    detail = problem(http.get(path), 422)["detail"]
    assert f"{value}: no such query parameter; " in detail
    assert message in detail


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/users/u/recommendations?k=5&k=6", "k=['5', '6']"),
        ("/v1/users/u/recommendations?explain=1&k=6&explain=1", "explain=['1', '1']"),
        ("/v1/items/black-00/similar?k=3&k=", "k=['3', '']"),
    ],
)
def test_a_parameter_given_twice_is_a_422(http: httpx.Client, path: str, field: str) -> None:
    """None of the values is taken in silence; what takes several is a list."""
    assert f"{field}: this parameter takes one value" in problem(http.get(path), 422)["detail"]
    several = {"category": ["black", "white"]}
    assert http.get("/v1/users/u/recommendations", params=several).status_code == 200


def test_unknown_query_parameters_of_other_methods(http: httpx.Client) -> None:
    """What belongs into the body is refused in the query; probes ignore what monitors append."""
    found = problem(http.post("/v1/recommendations?k=5", json={}), 422)
    assert found["errors"] == [
        {
            "field": "k",
            "value": "'5'",
            "message": "no such query parameter; there is none here",
        }
    ]
    for path in ("/livez", "/readyz", "/metrics", "/"):
        assert http.get(path, params={"t": "1"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/users/%FF/recommendations", "/v1/items/%C3%28"])
def test_a_path_that_is_no_utf8_is_a_422(http: httpx.Client, path: str) -> None:
    """Percent-encoded bytes that are no text are refused."""
    assert "UTF-8" in problem(http.get(path), 422)["detail"]


def test_an_overlong_id_in_a_path_is_a_422(http: httpx.Client) -> None:
    """256 characters are allowed, counted after decoding."""
    assert http.get(f"/v1/users/{'%C3%A4' * 256}/recommendations").status_code == 200
    problem(http.get(f"/v1/users/{'%C3%A4' * 257}/recommendations"), 422)


def test_docs_are_served(http: httpx.Client) -> None:
    """The reference is at /docs, and everything that it loads is here too."""
    page = http.get("/docs").text
    assert "recsvc" in page
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any(path.endswith(".js") for path in loaded)
    assert any(path.endswith(".css") for path in loaded)
    for path in loaded:
        assert path.startswith("/")
        assert http.get(path).status_code == 200


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
    for path in ("/v1/events", "/v1/recommendations", "/v1/items"):
        answer = http.post(path, content=json.dumps(body), headers=JSON)
        if answer.status_code != 200:
            assert answer.status_code in (400, 422)
            problem(answer, answer.status_code)
