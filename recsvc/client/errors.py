"""What can go wrong with a call.

ClientError
├── NoAnswerError             refused, lost or too late; whether the service did it is unknown
├── UnreadableAnswerError     an answer that is not the service's, such as a proxy's page
└── ProblemError              the service (or a proxy) said no; `status` and `slug` say why
    ├── BadRequestError       400
    ├── UnauthorizedError     401
    ├── ForbiddenError        403
    ├── NotFoundError         404  slug: item-not-found, user-not-found, model-not-found
    ├── ConflictError         409
    ├── TooLargeError         413
    ├── InvalidInputError     422  `errors` lists the fields
    ├── TooManyRequestsError  429
    └── UnavailableError      503
"""

from collections.abc import Mapping
from typing import Any

import httpx

_PREFIX = "urn:recsvc:problem:"
_SHOWN_CHARS = 200
_TEMPORARY_STATUSES = frozenset({408, 429, 502, 503, 504})
_TEMPORARY_FAILURES = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


class ClientError(Exception):
    """Base of every error that a client raises on purpose."""

    is_temporary: bool = False
    """Whether the same call may succeed in a moment."""
    retry_after_s: float | None = None
    """Seconds that the service asks to wait; None: it said nothing."""


class NoAnswerError(ClientError):
    """No answer came.

    Args:
        failure: httpx's.
    """

    def __init__(self, failure: httpx.RequestError) -> None:
        request = failure.request
        super().__init__(
            f"{request.method} {request.url} got no answer: "
            f"{str(failure) or type(failure).__name__}"
        )
        self.is_temporary = isinstance(failure, _TEMPORARY_FAILURES)


class UnreadableAnswerError(ClientError):
    """What came is not what the service answers; is its address right?"""


class ProblemError(ClientError):
    """An answer of 300 or more.

    Args:
        response: the answer.
        problem: its RFC 9457 members; empty where it is no problem, such as a proxy's page.
    """

    def __init__(self, response: httpx.Response, problem: Mapping[str, Any]) -> None:
        self.status = response.status_code
        self.slug = str(problem.get("type", "")).removeprefix(_PREFIX)
        """Stable name of the problem's type; empty where a proxy answered."""
        self.title = str(problem.get("title", response.reason_phrase))
        self.detail = str(problem.get("detail", response.text[:_SHOWN_CHARS]))
        """What was wrong, what is allowed, what to do."""
        self.errors: list[dict[str, str]] = list(problem.get("errors") or ())
        """The fields that are wrong: `field`, `value`, `message`."""
        self.is_temporary = self.status in _TEMPORARY_STATUSES
        waits = response.headers.get("retry-after", "")
        self.retry_after_s = float(waits) if waits.isascii() and waits.isdigit() else None
        super().__init__(f"{self.status} {self.title}: {self.detail}")


class BadRequestError(ProblemError):
    """The request cannot be read at all."""


class UnauthorizedError(ProblemError):
    """No API key, or an unknown one."""


class ForbiddenError(ProblemError):
    """The key's scope does not allow it."""


class NotFoundError(ProblemError):
    """There is no such item, user or version."""


class ConflictError(ProblemError):
    """It contradicts what is stored."""


class TooLargeError(ProblemError):
    """The body, or the number of its entries, is above the limit: send it in parts."""


class InvalidInputError(ProblemError):
    """A field is wrong; `errors` lists them."""


class TooManyRequestsError(ProblemError):
    """The service is full; it was tried again, and is still."""


class UnavailableError(ProblemError):
    """The service cannot do it now; it was tried again, and still cannot."""


_BY_STATUS: Mapping[int, type[ProblemError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    422: InvalidInputError,
    429: TooManyRequestsError,
    503: UnavailableError,
}


def problem_of(response: httpx.Response) -> ProblemError:
    """The error that an answer of 300 or more stands for, whoever sent it."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    kind = _BY_STATUS.get(response.status_code, ProblemError)
    return kind(response, problem if isinstance(problem, dict) else {})
