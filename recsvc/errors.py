"""Errors of the service, each with the HTTP status and the problem type it becomes.

Knows nothing of HTTP frameworks: one handler in the api maps these to RFC 9457 problems.

RecsvcError                        500
├── BadRequestError                400  the body is no JSON, a header is malformed
├── UnauthorizedError              401  no key, or an unknown one
├── ForbiddenError                 403  the key lacks the scope, or there is none that has it
├── NotFoundError                  404
│   ├── ItemNotFoundError
│   ├── UserNotFoundError
│   └── ModelNotFoundError
├── RequestTimeoutError            408  the request did not come in time
├── ConflictError                  409  the request contradicts what is stored
├── PayloadTooLargeError           413  body or batch above its limit
├── UnsupportedMediaTypeError      415  the body is compressed
├── InvalidInputError              422  a field is wrong
├── TooManyRequestsError           429  a bounded queue is full, a quota is used up
├── HeadTooLargeError              431  the request's head is above its limit
├── UnavailableError               503
│   ├── NotReadyError                   no bundle is loaded
│   └── StateUnavailableError           Redis is gone, silent, or refuses writes
└── StartError                     500  the process cannot start (never answers a request)
    ├── SettingsError                   a setting is wrong
    ├── PartitionMismatchError          Redis was filled under another number of partitions
    ├── EmbeddedRedisError              the embedded Redis cannot be started
    └── ArchiveError                    the archive cannot be read or written
"""

from typing import Any, ClassVar


class RecsvcError(Exception):
    """Base of every error that the service raises on purpose.

    Args:
        detail: what was wrong, what is allowed, what to do; shown to the caller.
        retry_after_s: seconds after which a repeat makes sense; None: repeating does not help,
            or nobody knows.
    """

    status: ClassVar[int] = 500
    """HTTP status."""
    slug: ClassVar[str] = "internal"
    """Stable name of the problem's type."""
    title: ClassVar[str] = "Internal error"
    """Short summary, the same for every occurrence."""

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s

    def problem(self) -> dict[str, Any]:
        """The members of an `application/problem+json` body (RFC 9457, section 3.1)."""
        return {
            "type": f"urn:recsvc:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


class BadRequestError(RecsvcError):
    """The request cannot be read at all."""

    status = 400
    slug = "bad-request"
    title = "The request cannot be read"


class UnauthorizedError(RecsvcError):
    """The caller is not known."""

    status = 401
    slug = "unauthorized"
    title = "A valid API key is required"


class ForbiddenError(RecsvcError):
    """The caller is known and may not do this."""

    status = 403
    slug = "forbidden"
    title = "No API key that may do this"


class NotFoundError(RecsvcError):
    """What the path names does not exist."""

    status = 404
    slug = "not-found"
    title = "Not found"


class ItemNotFoundError(NotFoundError):
    """No such item in the catalogue."""

    slug = "item-not-found"
    title = "No such item"


class UserNotFoundError(NotFoundError):
    """Nothing is stored for the user."""

    slug = "user-not-found"
    title = "Nothing is stored for this user"


class ModelNotFoundError(NotFoundError):
    """The registry holds no such version."""

    slug = "model-not-found"
    title = "No such model version"


class RequestTimeoutError(RecsvcError):
    """The request's head or body was not there in time."""

    status = 408
    slug = "request-timeout"
    title = "The request did not come in time"


class ConflictError(RecsvcError):
    """The request contradicts what is stored."""

    status = 409
    slug = "conflict"
    title = "Conflict with the current state"


class PayloadTooLargeError(RecsvcError):
    """The body, or the number of its entries, is above the limit."""

    status = 413
    slug = "payload-too-large"
    title = "The request is too large"


class UnsupportedMediaTypeError(RecsvcError):
    """The body comes in a coding that is not read."""

    status = 415
    slug = "unsupported-media-type"
    title = "The body's coding is not read"


class InvalidInputError(RecsvcError):
    """A field of the request is wrong."""

    status = 422
    slug = "invalid-input"
    title = "A field of the request is wrong"


class TooManyRequestsError(RecsvcError):
    """A bounded queue is full or a quota is used up."""

    status = 429
    slug = "too-many-requests"
    title = "Too many requests"


class HeadTooLargeError(RecsvcError):
    """The request line and the headers are above their limit."""

    status = 431
    slug = "head-too-large"
    title = "The head of the request is too large"


class UnavailableError(RecsvcError):
    """The service cannot answer now and may later."""

    status = 503
    slug = "unavailable"
    title = "Temporarily unavailable"


class NotReadyError(UnavailableError):
    """No bundle is loaded yet."""

    slug = "not-ready"
    title = "No model is loaded"


class StateUnavailableError(UnavailableError):
    """Redis is gone, silent, or refuses the command; whether a write happened is unknown."""

    slug = "state-unavailable"
    title = "The state store is unavailable"


class StartError(RecsvcError):
    """The process cannot start; a person has to act."""

    slug = "start"
    title = "The service cannot start"


class SettingsError(StartError):
    """A setting is wrong; the message names it, its value, and what is allowed."""

    slug = "settings"


class PartitionMismatchError(StartError):
    """Redis was filled under another number of partitions."""

    slug = "partition-mismatch"


class EmbeddedRedisError(StartError):
    """The embedded Redis cannot be started or stopped."""

    slug = "embedded-redis"


class ArchiveError(StartError):
    """The archive cannot be read or written."""

    slug = "archive"
