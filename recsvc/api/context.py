"""What the routes need, taken from the app that serves them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from recsvc.errors import InvalidInputError
from recsvc.recommender import Recommender
from recsvc.settings import Settings
from recsvc.state.store import StateStore
from recsvc.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Context:
    """One process's parts, made when the app starts."""

    settings: Settings
    metrics: Metrics
    state: StateStore
    recommender: Recommender
    clock: Callable[[], datetime]
    new_id: Callable[[], str]


async def _context(request: Request) -> Context:  # async: FastAPI runs others in a thread
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(_context)]


def check_k(k: int, settings: Settings) -> int:
    """Refuse a list longer than the setting allows.

    Raises:
        InvalidInputError: k is above max_k.
    """
    if k > settings.max_k:
        raise InvalidInputError(f"k={k}: at most {settings.max_k} is allowed (max_k)")
    return k
