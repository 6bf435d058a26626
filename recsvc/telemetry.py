"""Metrics (Prometheus) and logs (structlog). Knows nothing of who counts what.

Metrics work in one process and in several: where PROMETHEUS_MULTIPROC_DIR is set before the
process starts, every worker writes to files there and `Metrics.render` answers for all of them.

Logs never hold the values of features: `configure_logging` installs a processor that withholds
them, whoever logs them under one of their names.
"""

import logging
import os
import sys
from typing import IO, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from structlog.typing import EventDict, Processor, WrappedLogger

MULTIPROC_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
WITHHELD_KEYS = frozenset({"features", "user_features", "item_features", "support", "body"})

_LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
_ADAPTATION_BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)


class Metrics:
    """Every metric of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.request_seconds = Histogram(
            "recsvc_request_seconds",
            "Time to answer a request, by method, route template and status.",
            ("method", "route", "status"),
            buckets=_LATENCY_BUCKETS_S,
            registry=r,
        )
        self.adaptation_seconds = Histogram(
            "recsvc_adaptation_seconds",
            "Time of the gradient steps of one call of the adapt graph.",
            buckets=_ADAPTATION_BUCKETS_S,
            registry=r,
        )
        self.events_accepted = Counter(
            "recsvc_events_accepted", "Events stored durably.", registry=r
        )
        self.events_duplicate = Counter(
            "recsvc_events_duplicate", "Events dropped because their id was known.", registry=r
        )
        self.redis_errors = Counter(
            "recsvc_redis_errors", "Failed calls to Redis, by kind.", ("kind",), registry=r
        )
        self.breaker_open = Gauge(
            "recsvc_breaker_open",
            "1 while the circuit breaker refuses calls to Redis, else 0.",
            multiprocess_mode="livemax",
            registry=r,
        )
        self.degraded_answers = Counter(
            "recsvc_degraded_answers", "Answers given without the user's state.", registry=r
        )
        self.model_info = Gauge(
            "recsvc_model_info",
            "1 for the version that serves in a role, 0 for those before it.",
            ("version", "role"),
            multiprocess_mode="livemax",
            registry=r,
        )
        self.model_load_failures = Counter(
            "recsvc_model_load_failures", "Bundles that could not be loaded.", registry=r
        )
        self.item_changes_applied = Counter(
            "recsvc_item_changes_applied", "Changes of run-time items applied.", registry=r
        )
        self.item_interactions = Counter(
            "recsvc_item_interactions",
            "Interactions written down for items without training.",
            registry=r,
        )
        self.items_adapted = Counter(
            "recsvc_items_adapted",
            "Moves of items without training by their first interactions.",
            registry=r,
        )

    def render(self) -> tuple[bytes, str]:
        """The exposition of all workers, and its content type."""
        if MULTIPROC_VARIABLE not in os.environ:
            return generate_latest(self.registry), CONTENT_TYPE_LATEST
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call] # the library's
        return generate_latest(merged), CONTENT_TYPE_LATEST


def configure_logging(
    level: str, fmt: Literal["console", "json"], stream: IO[str] | None = None
) -> None:
    """Send structlog's and the standard library's messages to one stream, in one format.

    Args:
        level: debug, info, warning or error.
        fmt: `console` for a person, `json` for one object a line.
        stream: where the lines go; None: standard error as it is now.
    """
    stream = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        withhold_features,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if fmt == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def withhold_features(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    """Replace the value of every key that may hold features. A structlog processor."""
    for key in WITHHELD_KEYS & event.keys():
        event[key] = "<withheld>"
    return event
