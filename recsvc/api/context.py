"""What the routes need, taken from the app that serves them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from recsvc.api.access import Access
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
    access: Access
    clock: Callable[[], datetime]
    new_id: Callable[[], str]


def context(request: Request) -> Context:
    """The parts of the process that serves a request.

    Called by the routes: as a FastAPI dependency it would cost a tenth of a request's time.
    """
    found: Context = request.app.state.context
    return found
