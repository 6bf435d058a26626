"""A typed client of the service, for programs that await and for those that do not.

    from recsvc.client import Client, Event, calls

    with Client("http://localhost:8000") as client:
        client.send(calls.record([Event("ada", "176", value=5)]))
        answer = client.send(calls.recommendations("ada", k=3))

A call is a value (`calls`) that either client sends. Needs httpx (`recsvc[client]`); knows nothing
of how the service works.
"""

from recsvc.client import calls
from recsvc.client.calls import Call
from recsvc.client.clients import AsyncClient, Client
from recsvc.client.errors import ClientError, NoAnswerError, ProblemError, UnreadableAnswerError
from recsvc.client.models import Event, SupportRow
from recsvc.client.retries import Retries

__all__ = [
    "AsyncClient",
    "Call",
    "Client",
    "ClientError",
    "Event",
    "NoAnswerError",
    "ProblemError",
    "Retries",
    "SupportRow",
    "UnreadableAnswerError",
    "calls",
]
