"""Every error as `application/problem+json` (RFC 9457), whoever raised it.

Knows nothing of the routes.
"""

import math
import reprlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from recsvc.api.models import ProblemOut
from recsvc.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    RecsvcError,
    RequestTimeoutError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)

MEDIA_TYPE = "application/problem+json"
SCHEMA = "Problem"
"""What OpenAPI calls a problem."""
MAX_ERRORS = 20
"""Wrong fields listed in one answer."""
_SHOWN_CHARS = 60
_SHORT = reprlib.Repr()
"""Shows a value in bounded time, however long and however deep it is."""
_SHORT.maxstring = _SHORT.maxother = 2 * _SHOWN_CHARS
_DEFAULT_RETRY_S = 1

_UNEXPECTED = "an unexpected error; the service's log has the details"
_EXAMPLES: tuple[RecsvcError, ...] = (
    BadRequestError("the body is no JSON: unexpected end of data at character 12"),
    UnauthorizedError("an API key is needed and none was sent; send Authorization: Bearer KEY"),
    ForbiddenError(
        "key 5f0c has scope 'read' and this needs 'write'; create one with: recsvc keys"
    ),
    NotFoundError("there is no item 'new-1'; PUT adds it"),
    RequestTimeoutError("the body was not there within 10 s; send it in smaller parts"),
    ConflictError("version '20260131T120000.000000Z' is damaged; the version that serves stays"),
    PayloadTooLargeError("10001 events in one call; at most 10000 are allowed: send them in parts"),
    UnsupportedMediaTypeError("content-encoding is 'gzip'; send the body as it is"),
    InvalidInputError("k=0: Input should be greater than or equal to 1"),
    TooManyRequestsError("500 requests are being answered; send this one again in a moment"),
    RecsvcError(_UNEXPECTED),
    UnavailableError("Redis does not answer; send the same events again with the same ids"),
)
"""What a problem of each status looks like."""
_HEADERS = {
    401: ("WWW-Authenticate", "`Bearer`."),
    429: ("Retry-After", "Seconds after which to send the request again."),
    503: ("Retry-After", "Seconds after which to send the request again."),
}
_BY_STATUS: dict[int, type[RecsvcError]] = {400: BadRequestError, 404: NotFoundError}


class MethodNotAllowedError(RecsvcError):
    """The path exists, the method does not."""

    status = 405
    slug = "method-not-allowed"
    title = "This path does not take this method"


def install(app: FastAPI) -> None:
    """Answer every kind of error of an app with a problem."""
    app.add_exception_handler(RecsvcError, _recsvc)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    return {status: _described(status) for status in sorted({*statuses, 500})}


def guarded(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route that asks for an API key and knows its query parameters."""
    return documented(401, 403, 422, 429, 503, *statuses)


def taking_body(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a guarded route that takes a body."""
    return guarded(400, 408, 413, 415, *statuses)


def schema() -> dict[str, Any]:
    """A problem, for OpenAPI's components, under the name `SCHEMA`."""
    return ProblemOut.model_json_schema()


def _described(status: int) -> dict[str, Any]:
    example = next(error.problem() for error in _EXAMPLES if error.status == status)
    content = {"schema": {"$ref": f"#/components/schemas/{SCHEMA}"}, "example": example}
    described: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: content},
    }
    if status in _HEADERS:
        name, text = _HEADERS[status]
        described["headers"] = {name: {"description": text, "schema": {"type": "string"}}}
    return described


def response(
    error: RecsvcError, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """The answer to an error.

    Args:
        error: gives status, type, title and detail.
        headers: further ones.
        members: further members of the problem.
    """
    all_headers = dict(headers or {})
    if error.status == 401:
        all_headers["WWW-Authenticate"] = "Bearer"
    if error.status in (429, 503):
        wait_s = error.retry_after_s if error.retry_after_s is not None else _DEFAULT_RETRY_S
        all_headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    body = {**error.problem(), **members}
    body["detail"] = _printable(body["detail"])
    return Response(orjson.dumps(body), error.status, all_headers, media_type=MEDIA_TYPE)


async def _recsvc(request: Request, exc: Exception) -> Response:  # noqa: ARG001 - FastAPI's signature
    assert isinstance(exc, RecsvcError)
    return response(exc)


async def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    if exc.status_code == 405:
        allowed = _allowed_methods(request) or (exc.headers or {}).get("Allow", "")
        detail = f"{request.method} is not allowed here; allowed: {allowed}"
        return response(MethodNotAllowedError(detail), {"Allow": allowed})
    if exc.status_code == 404:
        detail = f"there is no path {request.scope['path'][:200]!r}; see /docs"
        return response(NotFoundError(detail))
    kind = _BY_STATUS.get(exc.status_code, RecsvcError)
    return response(kind(str(exc.detail)), exc.headers)


async def _validation(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    errors = exc.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        reason = first["ctx"]["error"]
        position = first["loc"][-1]
        return response(BadRequestError(f"the body is no JSON: {reason} at character {position}"))
    content_type = request.headers.get("content-type", "")
    if first["loc"] == ("body",) and isinstance(first["input"], bytes):
        detail = f"content-type is {content_type!r}; send JSON as application/json"
        return response(BadRequestError(detail))
    known = _body_fields(request)
    listed = [_field(e, known) for e in errors[:MAX_ERRORS]]
    detail = "; ".join(f"{e['field']}={e['value']}: {e['message']}" for e in listed[:3])
    if len(errors) > 3:
        detail += f"; and {len(errors) - 3} more"
    return response(InvalidInputError(detail), errors=listed)


async def _unexpected(request: Request, exc: Exception) -> Response:  # noqa: ARG001 - FastAPI's signature
    return response(RecsvcError(_UNEXPECTED))


def _allowed_methods(request: Request) -> str:
    """All documented methods of the request's path; Starlette names those of one route alone."""
    path = getattr(request.scope.get("route"), "path", None)
    return ", ".join(sorted(m.upper() for m in request.app.openapi()["paths"].get(path, ())))


def _body_fields(request: Request) -> list[str]:
    """The fields that the body of the request's route has; none where it has no body."""
    field = getattr(request.scope.get("route"), "body_field", None)
    model = field.field_info.annotation if field is not None else None
    return sorted(getattr(model, "model_fields", ()))


def _field(error: Mapping[str, Any], known: list[str]) -> dict[str, str]:
    """One wrong field: where, what was sent (shortened), what is allowed.

    Args:
        known: fields of the body, for a field that is none of them.
    """
    place = [str(part) for part in error["loc"]]
    if len(place) > 1 and place[0] in ("body", "query", "path"):
        place = place[1:]
    shown = "(missing)" if error["type"] == "missing" else _SHORT.repr(error["input"])
    if len(shown) > _SHOWN_CHARS:
        shown = shown[:_SHOWN_CHARS] + "…"
    return {
        "field": _printable(".".join(place)),
        "value": _printable(shown),
        "message": _printable(_message(error, known)),
    }


def _message(error: Mapping[str, Any], known: list[str]) -> str:
    """What is allowed, in the words of JSON."""
    kind = error["type"]
    if kind in ("model_attributes_type", "model_type", "dict_type"):
        return "a JSON object {...} is wanted here"
    if kind == "extra_forbidden":
        allowed = f": known are {', '.join(known)}" if len(error["loc"]) == 2 and known else ""
        return f"no such field{allowed}"
    return str(error["msg"]).removeprefix("Value error, ")


def _printable(text: str) -> str:
    """Text that UTF-8 can carry."""
    return text.encode("utf-8", "backslashreplace").decode()
