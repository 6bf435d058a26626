"""Every benchmark runs, on a small scale, as its documented command; no time is asserted."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from recsvc.contract.registry import Registry
from tests.recsvc.bundles import publish_world

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TRAINING = (
    *("--tasks", "3", "--support", "2", "--query", "2", "--dims", "4"),
    *("--steps", "2", "--items", "20", "--threads", "1", "--rounds", "2", "--round-s", "0.01"),
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with the checkerboard."""
    path = tmp_path_factory.mktemp("benchmarks") / "registry"
    publish_world(path, "20260101T000000.000000Z")
    return path


def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a benchmark as a person would, with one thread for numbers."""
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / program), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def printed(program: str, *arguments: str) -> str:
    """What it prints when all is well."""
    process = run(program, *arguments)
    assert process.returncode == 0, process.stderr
    return process.stdout


def printed_json(program: str, *arguments: str) -> dict[str, Any]:
    """What it prints for a machine."""
    found: dict[str, Any] = orjson.loads(printed(program, *arguments, "--json"))
    return found


def test_first_event_finds_a_changed_list_at_the_first_read_of_every_visit(registry: Path) -> None:
    """Every visit's list is another one at once, by more than the item acted on leaving it."""
    found = printed_json(
        "first_event.py", "--registry", str(registry), "--users", "3", "--events", "12"
    )
    assert found["errors"] == {}
    assert found["visits"] == 12
    assert found["changed_at_first_read"] == 12
    assert found["adapted"] == 12
    assert found["reordered"] == 12
    assert found["requests"] == 36
    assert found["milliseconds"]["floor_ms"]["p50"] > 0
    times = found["milliseconds"]["changed_ms"]
    assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    assert set(found["cpu_ms_per_request"]) == {"service", "redis", "clients"}


def test_first_event_prints_a_table(registry: Path) -> None:
    """The table names its rows, its setting and its bound, with several workers too."""
    text = printed(
        "first_event.py",
        *("--registry", str(registry), "--users", "2", "--events", "4", "--workers", "2"),
    )
    assert "data checkerboard" in text
    assert "event sent to changed list" in text
    assert "empty answer (floor)" in text
    assert "workers 2" in text
    assert "share these CPUs" in text
    assert "bound 20 ms" in text


def test_first_event_refuses_a_registry_without_a_version(tmp_path: Path) -> None:
    """A registry that serves nothing is named, with the command that fills it."""
    Registry(tmp_path)
    process = run("first_event.py", "--registry", str(tmp_path))
    assert process.returncode == 1
    assert f"{tmp_path} has no current version" in process.stderr
    assert "recsvc-train fit" in process.stderr


def test_footprint_reports_starts_memory_and_imports(registry: Path) -> None:
    """Both starts, every process's memory before and after, and the dearest imports first."""
    found = printed_json(
        "service_footprint.py", "--registry", str(registry), "--requests", "9", "--repeats", "1"
    )
    for start in (found["cold"], found["repeated"]):
        assert 0 < start["checked_s"] < start["ready_s"]
    for name in ("memory_when_ready", "memory_after_requests"):
        assert [use["role"] for use in found[name]] == ["service", "redis"]
        assert all(0 < use["pss_mb"] <= use["rss_mb"] for use in found[name])
    assert found["largest_worker_rss_mb"] == found["memory_after_requests"][0]["rss_mb"]
    costs = [package["self_ms"] for package in found["heaviest_imports"]]
    assert len(costs) == 10
    assert costs == sorted(costs, reverse=True)
    assert "onnxruntime" in {package["name"] for package in found["heaviest_imports"]}


def test_footprint_prints_every_worker(registry: Path) -> None:
    """With two workers the parent and both workers have rows of their own."""
    text = printed(
        "service_footprint.py",
        *("--registry", str(registry), "--requests", "3", "--repeats", "1", "--workers", "2"),
    )
    assert text.count("worker, ready") == 2
    assert text.count("service, 3 requests") == 1
    assert "bound 3 s" in text
    assert "bound 250 MB" in text


def test_throughput_compares_three_forms_that_agree() -> None:
    """All forms have the same loss and meta-gradient, a rate, and the product's ratio to them."""
    found = printed_json("training_throughput.py", *TRAINING)
    assert 0 < found["largest_difference"] <= 1e-4
    assert list(found["tasks_per_s"]) == ["loop over tasks", "vmap(grad)", "product"]
    assert list(found["product_faster"]) == ["loop over tasks", "vmap(grad)"]
    for row in [*found["tasks_per_s"].values(), *found["product_faster"].values()]:
        assert 0 < row["least"] <= row["median"] <= row["most"]


def test_throughput_prints_a_table() -> None:
    """The table names its setting, its forms and its bounds."""
    text = printed("training_throughput.py", *TRAINING)
    assert "tasks 3, support 2, query 2, dims 4, steps 2, items 20, threads 1" in text
    assert "same loss and meta-gradient" in text
    assert "product is faster than" in text


def test_pooled_score_compares_with_the_scan() -> None:
    """Every size has the scan, both forms of the kernel and the totals, with ratios to the scan."""
    sizes = ("--items", "50", "3000", "--edges", "4", "--support", "3", "--rounds", "3")
    found = printed_json("pooled_score.py", *sizes)
    assert list(found) == ["50", "3000"]
    for rows in found.values():
        assert len(rows) == 4
        assert all(row["median_ms"] > 0 and row["ratio"] > 0 for row in rows.values())
        assert rows["scan"]["ratio"] == 1.0
    text = printed("pooled_score.py", *sizes)
    assert "support 3 rows, 4 edges each" in text
    assert text.count("x the scan") == 8


def test_large_data_prints_the_peaks() -> None:
    """Every stage with its peak, and the highest beside the bound."""
    flags = ("--interactions", "800", "--users", "50", "--items", "40", "--fit", "max-epochs=1")
    found = printed_json("large_data.py", *flags)
    assert list(found["stages"]) == ["synth", "import", "import-csv", "load", "fit"]
    peaks = [use["peak_mib"] for use in found["stages"].values()]
    assert all(10 < peak <= found["peak_mib"] for peak in peaks)
    assert found["peak_mib"] < found["bound_mib"] == 4096
    text = printed("large_data.py", *flags[:-2], "--stages", "load")
    for name in ("import ", "load ", "bound 4096 MiB"):
        assert name in text
