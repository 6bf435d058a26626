"""Both clients behave alike; answers come from a function in the place of the network."""

import asyncio
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from recsvc.client import (
    AsyncClient,
    Call,
    Client,
    Event,
    NoAnswerError,
    ProblemError,
    Retries,
    UnreadableAnswerError,
    calls,
    errors,
)

ADDRESS = "http://service.test/prefix"
RECORDED = {"accepted": 1, "duplicates": 0}
READY = {"status": "ready", "model_version": "v1", "redis": "ok"}


class Service:
    """Answers in turn, and notes what it was asked and how long the client waited.

    Args:
        answers: responses, or failures of the network.
    """

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waits_s: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        """The next answer."""
        self.requests.append(request)
        found = self._answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def wait(self, seconds: float) -> None:
        """Note a wait."""
        self.waits_s.append(seconds)


Send = Callable[..., Any]


def send_waiting(service: Service, call: Call[Any], **options: Any) -> Any:
    """Through the client for programs that wait."""
    transport = httpx.MockTransport(service.answer)
    with Client(ADDRESS, transport=transport, sleep=service.waits_s.append, **options) as client:
        return client.send(call)


def send_awaiting(service: Service, call: Call[Any], **options: Any) -> Any:
    """Through the client for programs that await."""

    async def sent() -> Any:
        transport = httpx.MockTransport(service.answer)
        async with AsyncClient(
            ADDRESS, transport=transport, sleep=service.wait, **options
        ) as client:
            return await client.send(call)

    return asyncio.run(sent())


@pytest.fixture(params=[send_waiting, send_awaiting])
def send(request: pytest.FixtureRequest) -> Send:
    """Either client."""
    found: Send = request.param
    return found


def problem(status: int, **headers: str) -> httpx.Response:
    """What the service says no with."""
    body = {
        "type": "urn:recsvc:problem:some-kind",
        "title": "No",
        "status": status,
        "detail": "k=0 is wrong",
        "errors": [{"field": "k", "value": "0", "message": "too small"}],
    }
    content_type = {"content-type": "application/problem+json"}
    return httpx.Response(status, content=json.dumps(body), headers={**content_type, **headers})


def test_an_answer_is_a_value(send: Send) -> None:
    """Fields are typed; those that only a newer service knows are left out."""
    service = Service(httpx.Response(200, json={**READY, "new": 1}))
    ready = send(service, calls.ready())
    assert (ready.status, ready.model_version, ready.redis) == ("ready", "v1", "ok")
    assert not hasattr(ready, "new")


@pytest.mark.parametrize(
    "failure", [httpx.ReadError("lost"), httpx.ReadTimeout("late"), httpx.ConnectError("refused")]
)
def test_events_keep_their_ids_when_sent_again(send: Send, failure: Exception) -> None:
    """An answer that was lost makes the client send the very same events, so none counts twice."""
    service = Service(failure, httpx.Response(200, json=RECORDED))
    send(service, calls.record([Event("ada", "1"), Event("ada", "2", event_id="mine")]))
    first, second = (json.loads(r.content)["events"] for r in service.requests)
    assert first == second
    assert len(first[0]["event_id"]) == 32
    assert first[1]["event_id"] == "mine"


def test_the_service_says_how_long_to_wait(send: Send) -> None:
    """Retry-After is a lower bound of the wait."""
    busy = problem(503, **{"retry-after": "2"})
    service = Service(busy, problem(429), httpx.Response(200, json=READY))
    send(service, calls.ready())
    assert service.waits_s[0] == 2.0
    assert 0.1 <= service.waits_s[1] <= 0.2


def test_a_longer_wait_is_left_to_the_caller(send: Send) -> None:
    """Where the service asks for more than the client would wait, the call fails at once."""
    service = Service(problem(503, **{"retry-after": "60"}))
    with pytest.raises(errors.UnavailableError) as caught:
        send(service, calls.ready())
    assert caught.value.retry_after_s == 60.0
    assert service.waits_s == []


def test_the_last_failure_is_told(send: Send) -> None:
    """After as many attempts as are allowed, what failed last is raised with its address."""
    service = Service(problem(503), httpx.ConnectError("refused"))
    with pytest.raises(NoAnswerError, match=r"GET http://service\.test/prefix/readyz .* refused"):
        send(service, calls.ready(), retries=Retries(attempts=2))
    assert len(service.requests) == 2


def test_a_failure_without_words_is_named(send: Send) -> None:
    """Some of the network's failures say nothing; their kind is shown instead."""
    service = Service(httpx.ReadTimeout(""))
    with pytest.raises(NoAnswerError, match="no answer: ReadTimeout"):
        send(service, calls.ready(), retries=Retries(attempts=1))


def test_a_rollback_is_sent_once(send: Send) -> None:
    """A second one would undo the first."""
    service = Service(httpx.ReadTimeout("late"))
    with pytest.raises(NoAnswerError):
        send(service, calls.roll_back_model())
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequestError),
        (401, errors.UnauthorizedError),
        (403, errors.ForbiddenError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (413, errors.TooLargeError),
        (422, errors.InvalidInputError),
        (500, ProblemError),
    ],
)
def test_a_problem_is_an_error_of_its_kind(
    send: Send, status: int, kind: type[ProblemError]
) -> None:
    """What a repeat cannot mend is raised at once, with all that the service said."""
    service = Service(problem(status))
    with pytest.raises(ProblemError) as caught:
        send(service, calls.recommendations("ada", k=0))
    assert type(caught.value) is kind
    assert (status, "some-kind", "k=0 is wrong") == (
        caught.value.status,
        caught.value.slug,
        caught.value.detail,
    )
    assert caught.value.errors[0]["field"] == "k"
    assert len(service.requests) == 1


def test_what_a_proxy_says_is_shown(send: Send) -> None:
    """A page instead of a problem is an error with the page's text, tried again like a 503."""
    page = httpx.Response(502, text="<html>Bad Gateway</html>")
    service = Service(page, httpx.Response(404, json=["no", "problem"]))
    with pytest.raises(errors.NotFoundError) as caught:
        send(service, calls.ready())
    assert (caught.value.slug, caught.value.detail) == ("", '["no","problem"]')
    assert len(service.requests) == 2


@pytest.mark.parametrize("body", ["<html>welcome</html>", "{}", "[]"])
def test_an_answer_of_something_else_is_refused(send: Send, body: str) -> None:
    """A 200 that is not the service's is named with the call that got it."""
    service = Service(httpx.Response(200, text=body))
    with pytest.raises(UnreadableAnswerError, match="GET /readyz was answered 200"):
        send(service, calls.ready())


@pytest.mark.parametrize(
    ("user_id", "segment"),
    [
        ("a b/c?d#e", b"a%20b%2Fc%3Fd%23e"),
        ("Zoë 🎬", b"Zo%C3%AB%20%F0%9F%8E%AC"),
        ("%2F", b"%252F"),
        (".", b"%2E"),
        ("..", b"%2E%2E"),
        ("...", b"..."),
    ],
)
def test_any_id_is_one_segment(send: Send, user_id: str, segment: bytes) -> None:
    """No id leads to another path, those that name directories included."""
    service = Service(httpx.Response(200, json={"user_id": user_id, "erased": 0}))
    send(service, calls.erase_user(user_id))
    assert service.requests[0].url.raw_path == b"/prefix/v1/users/" + segment


def test_the_key_is_sent(send: Send) -> None:
    """As a bearer token, and only where there is one."""
    service = Service(httpx.Response(200, json=READY))
    send(service, calls.ready(), key="secret")
    assert service.requests[0].headers["authorization"] == "Bearer secret"
    service = Service(httpx.Response(200, json=READY))
    send(service, calls.ready())
    assert "authorization" not in service.requests[0].headers


def test_a_time_needs_its_offset() -> None:
    """A time that could be anywhere is refused before it is sent; others are RFC 3339."""
    moment = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - what is refused
    with pytest.raises(ValueError, match="no offset"):
        calls.record([Event("ada", "1", timestamp=moment)])
    call = calls.record([Event("ada", "1", timestamp=moment.replace(tzinfo=UTC))])
    assert call.body is not None
    assert call.body["events"][0]["timestamp"] == "2026-01-01T12:00:00+00:00"


def test_waits_double_up_to_the_longest() -> None:
    """Each is between half of its bound and all of it."""
    retries = Retries(attempts=9, first_wait_s=1.0, longest_wait_s=4.0)
    error = errors.problem_of(problem(503))
    for failures, longest in enumerate([1.0, 2.0, 4.0, 4.0], 1):
        wait_s = retries.wait_s(failures, error, random.Random(failures))
        assert wait_s is not None
        assert longest / 2 <= wait_s <= longest
