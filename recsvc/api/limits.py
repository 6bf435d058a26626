"""Limits of a request that settings decide; each is named where it is exceeded.

Limits that are the same everywhere stand with the fields. Knows nothing of the routes.
"""

from collections.abc import Mapping
from typing import Any

from recsvc.api.fields import format_timestamp
from recsvc.errors import InvalidInputError
from recsvc.settings import Settings

_SHOWN_CHARS = 40


def check_k(k: int, settings: Settings) -> int:
    """Refuse a list longer than the setting allows.

    Raises:
        InvalidInputError: k is above max_k.
    """
    if k > settings.max_k:
        raise InvalidInputError(f"k={k}: at most {settings.max_k} is allowed (max_k)")
    return k


def check_features(place: str, features: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Refuse more or longer features than the settings allow.

    Args:
        place: where the features stand in the body, for the message.
        features: of one user or one item.
        settings: limits.

    Raises:
        InvalidInputError: there are too many, or one of them is too long.
    """
    _check_count(place, len(features), settings)
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        _check_count(f"{place}.{name[:_SHOWN_CHARS]}", len(values), settings)
        longest = max((len(v) for v in values if isinstance(v, str)), default=0)
        if longest > settings.max_feature_chars:
            raise InvalidInputError(
                f"{place}.{name[:_SHOWN_CHARS]} has {longest} characters; at most "
                f"{settings.max_feature_chars} are allowed (max_feature_chars): shorten it"
            )
    return dict(features)


def check_time(place: str, timestamp_ms: int, now_ms: int, settings: Settings) -> None:
    """Refuse an event that is further ahead of its arrival than the setting allows.

    Args:
        place: where the event stands in the body, for the message.
        timestamp_ms: when it is said to have happened.
        now_ms: when it arrived.
        settings: the limit.

    Raises:
        InvalidInputError: it is too far ahead.
    """
    lead_s = (timestamp_ms - now_ms) / 1000
    if lead_s > settings.max_event_lead_s:
        raise InvalidInputError(
            f"{place}.timestamp={format_timestamp(timestamp_ms)} is {lead_s:.0f} s in the future; "
            f"at most {settings.max_event_lead_s:g} s are allowed (max_event_lead_s): check the "
            "sender's clock, or leave the time out"
        )


def _check_count(place: str, count: int, settings: Settings) -> None:
    if count > settings.max_features:
        raise InvalidInputError(
            f"{place} has {count} entries; at most {settings.max_features} are allowed "
            "(max_features): send fewer"
        )
