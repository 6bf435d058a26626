"""Metrics of one process and of several; logs without the values of features."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from recsvc.telemetry import Metrics, configure_logging

WORKER = """
from recsvc.telemetry import Metrics
metrics = Metrics()
metrics.events_accepted.inc(2)
metrics.breaker_open.set(1)
metrics.request_seconds.labels("GET", "/livez", "200").observe(0.001)
print(metrics.render()[0].decode())
"""


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Where the logs go; the configuration from before is restored."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_metrics_are_rendered_for_prometheus() -> None:
    """Counters, gauges and histograms appear with their labels."""
    metrics = Metrics()
    metrics.redis_errors.labels("timeout").inc()
    metrics.model_info.labels("20260131", "active").set(1)
    metrics.request_seconds.labels("GET", "/v1/items/{id}", "200").observe(0.004)
    text, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    found = text.decode().splitlines()
    assert 'recsvc_redis_errors_total{kind="timeout"} 1.0' in found
    assert 'recsvc_model_info{role="active",version="20260131"} 1.0' in found
    labels = 'le="0.005",method="GET",route="/v1/items/{id}",status="200"'
    assert f"recsvc_request_seconds_bucket{{{labels}}} 1.0" in found


def test_two_sets_of_metrics_are_apart() -> None:
    """Nothing is registered globally: a second service in one process counts for itself."""
    first, second = Metrics(), Metrics()
    first.events_accepted.inc()
    assert b"recsvc_events_accepted_total 0.0" in second.render()[0]


def test_one_worker_answers_for_all(tmp_path: Path) -> None:
    """In several processes the sums are those of all of them."""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for workers in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", WORKER], env=env, capture_output=True, text=True, check=True
        )
        assert f"recsvc_events_accepted_total {2.0 * workers}" in done.stdout
        assert "recsvc_request_seconds_count{" in done.stdout


@pytest.mark.parametrize("key", ["features", "user_features", "item_features", "support"])
def test_features_are_never_logged(lines: io.StringIO, key: str) -> None:
    """Whoever logs features by their name logs that they were withheld."""
    configure_logging("info", "json", lines)
    structlog.get_logger("test").info("adapted", user="ada", **{key: {"age": 36}})
    message = json.loads(lines.getvalue())
    assert message[key] == "<withheld>"
    assert (message["event"], message["user"], message["level"]) == ("adapted", "ada", "info")


def test_messages_of_libraries_have_the_same_form(lines: io.StringIO) -> None:
    """What the standard library's loggers say is JSON too, exceptions included."""
    configure_logging("info", "json", lines)
    try:
        int("no")
    except ValueError:
        logging.getLogger("uvicorn").exception("it broke: %s", "here")
    message = json.loads(lines.getvalue())
    assert message["event"] == "it broke: here"
    assert message["logger"] == "uvicorn"
    assert "ValueError: invalid literal" in message["exception"]


def test_the_level_holds_for_all(lines: io.StringIO) -> None:
    """Messages below the level are dropped, ours and those of libraries."""
    configure_logging("warning", "json", lines)
    structlog.get_logger("test").info("quiet")
    logging.getLogger("uvicorn").info("quiet")
    assert lines.getvalue() == ""


def test_a_person_reads_lines(lines: io.StringIO) -> None:
    """The console's form is no JSON, and without colours where there is no terminal."""
    configure_logging("info", "console", lines)
    structlog.get_logger("test").info("started", port=8000)
    assert "started" in lines.getvalue()
    assert "port=8000" in lines.getvalue()
    assert "\x1b[" not in lines.getvalue()
