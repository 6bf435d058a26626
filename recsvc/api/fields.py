"""The field types that requests are made of: ids, text, numbers, features, times.

Knows nothing of what they are used for. A wrong value is refused with what is allowed.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Path
from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

MAX_ID_CHARS = 256
MIN_EPOCH_S, MAX_EPOCH_S = -62_135_596_800, 100_000_000_000
"""The years 1 and 5138; what is beyond is taken for milliseconds and refused."""
MAX_ROWS = 100_000
"""Elements of any list of a request; settings may allow fewer."""
MAX_FILTER_COLUMNS = 32
MAX_FILTER_VALUES = 100
MAX_FILTER_CHARS = 1000
_INT64 = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_segment(raw: str) -> str:
    """Decode one percent-encoded path segment, which may hold any Unicode and slashes."""
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"{raw!r} is not percent-encoded UTF-8") from exc


def parse_timestamp(value: Any) -> int:
    """RFC 3339 text or seconds since 1970, to milliseconds since 1970 UTC.

    Text without an offset is UTC. Times before 1970 are ordinary.

    Raises:
        ValueError: it is neither, or so large that it must be milliseconds.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
            format_timestamp(milliseconds)  # an offset can lead out of the years 1 to 9999
        except (ValueError, OverflowError) as exc:
            raise ValueError(f"{value!r} is no RFC 3339 time such as 2026-01-31T12:00:00Z") from exc
        return milliseconds
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not MIN_EPOCH_S <= value <= MAX_EPOCH_S:  # false for NaN too
        raise ValueError(
            "neither an RFC 3339 time nor seconds since 1970 within the years 1 to 5138 "
            "(milliseconds are too large)"
        )
    return int(value * 1000 // 1)


def format_timestamp(timestamp_ms: int) -> str:
    """Milliseconds since 1970 UTC as RFC 3339 text, which `parse_timestamp` reads back."""
    return (_EPOCH + timedelta(milliseconds=timestamp_ms)).isoformat()


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
EventType = Annotated[str, Field(max_length=MAX_ID_CHARS)]
Int64 = Annotated[int, Field(ge=-_INT64, lt=_INT64, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


def in_one_sentence(allowed: str) -> WrapValidator:
    """Say what is allowed once, where a union would say it once for each of its types."""

    def validate(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError as exc:
            raise ValueError(f"{allowed} is allowed here") from exc

    return WrapValidator(validate)


Scalar = Flag | Int64 | FiniteFloat | str
FilterText = Annotated[str, Field(max_length=MAX_FILTER_CHARS)]
FilterScalar = Flag | Int64 | FiniteFloat | FilterText
FilterValue = Annotated[
    FilterScalar | Annotated[list[FilterScalar], Field(min_length=1, max_length=MAX_FILTER_VALUES)],
    in_one_sentence(
        f"text of at most {MAX_FILTER_CHARS} characters, a number of 64 bits, true, false, or a "
        f"list of 1 to {MAX_FILTER_VALUES} of those"
    ),
]
FeatureValue = Annotated[
    Scalar | list[Scalar] | None,
    in_one_sentence("text, a number of 64 bits, true, false, null, or a list of those but null"),
]
Features = dict[Id, FeatureValue]
"""Raw values under the data set's own column names; a list for several categories."""

Timestamp = Annotated[
    int,
    BeforeValidator(parse_timestamp),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}],
            "description": "RFC 3339 text, or seconds since 1970 as a number. Left out: now.",
        }
    ),
]

_SEGMENT = "Percent-encoded; any Unicode, slashes as %2F; 1 to 256 characters once decoded."
UserIdPath = Annotated[
    Id, BeforeValidator(decode_segment), Path(description=_SEGMENT, examples=["u-42"])
]
ItemIdPath = Annotated[
    Id, BeforeValidator(decode_segment), Path(description=_SEGMENT, examples=["50"])
]
