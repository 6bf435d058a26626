"""How soon `recsvc serve` answers, how much memory its processes hold, and what its imports take.

    python benchmarks/service_footprint.py --registry DIR

Starts are timed from the process's start to a 200 from /readyz, Redis's start included. The cold
start reads its files from the disk: the kernel is asked to drop its copies first. The repeated
ones follow a stop and take up the same Redis data. Memory is read after requests of new users.
"""

import argparse
import os
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from first_event import current_manifest, positive_value
from imports import forget, import_costs, imported_files
from processes import ProcessUse, Service, process_uses, serve
from visitors import Plan, run_visits

BOUND_READY_S = 3.0
BOUND_RSS_MB = 250.0
HEAVIEST = 10
USERS = 8
REQUESTS_PER_VISIT = 3


def time_start(registry: Path, data_dir: Path, workers: int) -> dict[str, float]:
    """Start and stop once; seconds until everything is checked, and until ready."""
    with serve(registry, data_dir, workers) as service:
        return {"checked_s": service.checked_s, "ready_s": service.ready_s}


def memory_after(service: Service, requests: int, value: float | None) -> list[ProcessUse]:
    """The processes after at least so many requests."""
    visits = -(-requests // REQUESTS_PER_VISIT)
    result = run_visits(Plan(service.host, service.port, USERS, visits, value))
    if result.errors:
        raise SystemExit(f"visits went wrong: {dict(result.errors)}")
    return process_uses(service)


def largest_worker_mb(uses: list[ProcessUse]) -> float:
    """Resident memory of the largest worker; with one worker the service itself is the worker."""
    workers = [use for use in uses if use.role == "worker"]
    return max(use.rss_mb for use in workers or uses[:1])


def measure(flags: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All figures."""
    value = positive_value(current_manifest(flags.registry))
    bundle = [path for path in flags.registry.rglob("*") if path.is_file()]
    forget([*imported_files(), *bundle])
    cold = time_start(flags.registry, scratch / "data", flags.workers)
    again = [
        time_start(flags.registry, scratch / "data", flags.workers) for _ in range(flags.repeats)
    ]
    ready_s = [start["ready_s"] for start in again]
    with serve(flags.registry, scratch / "data", flags.workers) as service:
        before = process_uses(service)
        after = memory_after(service, flags.requests, value)
    return {
        "cold": cold,
        "repeated": {
            "checked_s": statistics.median(start["checked_s"] for start in again),
            "ready_s": statistics.median(ready_s),
            "least_ready_s": min(ready_s),
            "most_ready_s": max(ready_s),
        },
        "memory_when_ready": [asdict(use) for use in before],
        "memory_after_requests": [asdict(use) for use in after],
        "largest_worker_rss_mb": largest_worker_mb(after),
        "heaviest_imports": [asdict(package) for package in import_costs()[:HEAVIEST]],
    }


def show(found: dict[str, Any], requests: int) -> None:
    """Print tables for a person."""
    cold, again = found["cold"], found["repeated"]
    print(f"{'start, seconds':24}{'checked':>9}{'ready':>9}")
    print(f"{'cold':24}{cold['checked_s']:9.2f}{cold['ready_s']:9.2f}")
    print(f"{'repeated, median':24}{again['checked_s']:9.2f}{again['ready_s']:9.2f}", end="")
    print(f"   ({again['least_ready_s']:.2f}..{again['most_ready_s']:.2f})")
    print(f"ready after {again['ready_s']:.2f} s, bound {BOUND_READY_S:g} s")
    print(f"\n{'memory, MB (10^6 bytes)':24}{'RSS':>9}{'PSS':>9}")
    for when, name in (
        ("ready", "memory_when_ready"),
        (f"{requests} requests", "memory_after_requests"),
    ):
        for use in found[name]:
            title = f"{use['role']}, {when}"
            print(f"{title:24}{use['rss_mb']:9.1f}{use['pss_mb']:9.1f}")
    print(f"largest worker {found['largest_worker_rss_mb']:.0f} MB, bound {BOUND_RSS_MB:.0f} MB")
    print(f"\n{'heaviest imports':24}{'self ms':>9}{'modules':>9}")
    for package in found["heaviest_imports"]:
        print(f"{package['name']:24}{package['self_ms']:9.1f}{package['modules']:9}")


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--requests", type=int, default=1000, help="before memory is read")
    parser.add_argument("--repeats", type=int, default=5, help="repeated starts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    flags = parser.parse_args()
    manifest = current_manifest(flags.registry)
    setting = {
        "data": manifest.dataset.name,
        "version": manifest.version,
        "items": manifest.dataset.items,
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "workers": flags.workers,
    }
    with tempfile.TemporaryDirectory(prefix="recsvc-") as scratch:
        found = measure(flags, Path(scratch))
    if flags.json:
        print(orjson.dumps({**setting, **found}).decode())
        return
    print(", ".join(f"{name} {value}" for name, value in setting.items()))
    show(found, flags.requests)


if __name__ == "__main__":
    main()
