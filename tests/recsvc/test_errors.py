"""The tree of errors: complete in its drawing, and ready to become HTTP problems."""

import re

import pytest

from recsvc import errors
from recsvc.errors import RecsvcError, StateUnavailableError


def tree(root: type[RecsvcError] = RecsvcError) -> list[type[RecsvcError]]:
    """A class and everything below it."""
    return [root, *(below for child in root.__subclasses__() for below in tree(child))]


def test_the_drawing_shows_every_error_once() -> None:
    """The docstring's tree names exactly the classes there are."""
    assert errors.__doc__ is not None
    drawn = re.findall(r"\b\w+Error\b", errors.__doc__)
    ours = [cls.__name__ for cls in tree() if cls.__module__ == errors.__name__]
    assert sorted(drawn) == sorted(ours)


def test_the_drawing_shows_the_status() -> None:
    """A status drawn beside a class is the class' own."""
    assert errors.__doc__ is not None
    drawn = dict(re.findall(r"\b(\w+Error) +(\d{3})\b", errors.__doc__))
    assert {name: int(status) for name, status in drawn.items()} == {
        name: getattr(errors, name).status for name in drawn
    }


def test_every_problem_has_a_type_of_its_own() -> None:
    """No two errors share a slug, so a client can tell them apart."""
    slugs = [cls.slug for cls in tree() if cls.__module__ == errors.__name__]
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 431, 503])
def test_every_status_has_an_error(status: int) -> None:
    """Each status that the service answers with on purpose has a class."""
    assert any(cls.status == status for cls in tree())


def test_an_error_becomes_a_problem() -> None:
    """The members of RFC 9457: type, title, status and detail."""
    error = StateUnavailableError("Redis is away", retry_after_s=2)
    assert error.problem() == {
        "type": "urn:recsvc:problem:state-unavailable",
        "title": "The state store is unavailable",
        "status": 503,
        "detail": "Redis is away",
    }
    assert error.retry_after_s == 2
    assert str(error) == "Redis is away"
