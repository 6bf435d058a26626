"""The one use case: from what is known of a user to a ranked list. Knows no HTTP."""

from recsvc.recommender.items import ItemFeed
from recsvc.recommender.service import Recommender
from recsvc.recommender.values import (
    Answer,
    Query,
    RankedItem,
    Reason,
    SessionEvent,
    Strategy,
    Unused,
)
from recsvc.recommender.wiring import connect

__all__ = [
    "Answer",
    "ItemFeed",
    "Query",
    "RankedItem",
    "Reason",
    "Recommender",
    "SessionEvent",
    "Strategy",
    "Unused",
    "connect",
]
