"""How long after a new user's first event the recommended list is another one, over real HTTP.

    python benchmarks/first_event.py --registry DIR --users 8

Starts `recsvc serve` with its embedded Redis. Users visit at the same time and without pauses, each
visit as a new user: GET the list, POST one event on an item of it, GET until the list differs.
Clients, service and Redis share this machine's cores. An empty answer, asked for by the same
clients just before, is the floor: what the server, the clients and the machine take by themselves.
"""

import argparse
import gc
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from processes import Service, cpu_seconds, serve
from visitors import Plan, Visit, Visits, run_floor, run_visits

from recsvc.contract.manifest import Manifest
from recsvc.contract.registry import Registry

BOUND_P99_MS = 20.0
QUANTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
FLOOR = "floor_ms"
ROWS = {
    FLOOR: "empty answer (floor)",
    "first_list_ms": "list of a new user",
    "event_ms": "event until durable",
    "next_list_ms": "list after the event",
    "changed_ms": "event sent to changed list",
}


def current_manifest(registry: Path) -> Manifest:
    """The manifest of the version that will be served."""
    opened = Registry(registry)
    current = opened.current()
    if current is None:
        raise SystemExit(f"{registry} has no current version; `recsvc-train fit` writes one")
    return opened.manifest(current.version)


def positive_value(manifest: Manifest) -> float | None:
    """A value that counts as positive: the end of the rule's range; None where any event does."""
    rule = manifest.dataset.rules.positive
    if rule is None:
        return None
    above, below = rule.threshold + 1.0, rule.threshold - 1.0
    return next(value for value in (rule.threshold, above, below) if rule.accepts(value))


def quantiles(times_ms: list[float]) -> dict[str, float]:
    """The quantiles that are shown."""
    return {label: float(np.percentile(times_ms, q)) for label, q in QUANTILES.items()}


def milliseconds(visits: list[Visit], name: str) -> dict[str, float]:
    """Quantiles of one of the visits' times."""
    return quantiles([getattr(visit, name) for visit in visits])


def figures(visits: Visits, floor_ms: list[float], spent_s: dict[str, float]) -> dict[str, Any]:
    """Everything that is shown.

    Args:
        visits: at least one that went well.
        floor_ms: times of empty answers.
        spent_s: CPU time of the service and of Redis during the visits.
    """
    done = visits.done
    cpu_s = {**spent_s, "clients": visits.client_cpu_s}
    named = {name: milliseconds(done, name) for name in ROWS if name != FLOOR}
    return {
        "milliseconds": {FLOOR: quantiles(floor_ms), **named},
        "visits": len(done),
        "changed_at_first_read": sum(visit.reads == 1 for visit in done),
        "adapted": sum(visit.adapted for visit in done),
        "reordered": sum(visit.reordered for visit in done),
        "errors": dict(visits.errors),
        "requests": visits.requests,
        "requests_per_s": visits.requests / visits.wall_s,
        "cpu_ms_per_request": {k: 1e3 * v / visits.requests for k, v in cpu_s.items()},
    }


def measure(service: Service, users: int, events: int, value: float | None) -> dict[str, Any]:
    """Warm up, then let the users visit."""
    warm_up = max(users, events // 10)
    run_visits(Plan(service.host, service.port, users, warm_up, value, seed=1))
    gc.freeze()  # what the clients have loaded is not to be walked again in the middle of a visit
    floor_ms = run_floor(Plan(service.host, service.port, users, events, value))
    before_s = cpu_seconds(service)
    visits = run_visits(Plan(service.host, service.port, users, events, value))
    spent_s = {name: total - before_s[name] for name, total in cpu_seconds(service).items()}
    if not visits.done:
        raise SystemExit(f"no visit went well: {dict(visits.errors)}")
    return figures(visits, floor_ms, spent_s)


def show(found: dict[str, Any]) -> None:
    """Print a table for a person."""
    print(f"{'milliseconds':28}" + "".join(f"{label:>9}" for label in QUANTILES))
    for name, title in ROWS.items():
        row = found["milliseconds"][name]
        print(f"{title:28}" + "".join(f"{row[label]:9.2f}" for label in QUANTILES))
    n = found["visits"]
    print(f"changed at the first read after the event: {found['changed_at_first_read']} of {n}")
    print(f"adapted to the event: {found['adapted']} of {n}; ", end="")
    print(f"changed by more than the item leaving the list: {found['reordered']} of {n}")
    print(f"{found['requests']} requests, {found['requests_per_s']:.0f} a second; ", end="")
    print(f"errors: {found['errors'] or 'none'}")
    cpu = ", ".join(f"{k} {v:.2f}" for k, v in found["cpu_ms_per_request"].items())
    print(f"CPU milliseconds a request: {cpu}")
    p99_ms = found["milliseconds"]["changed_ms"]["p99"]
    print(f"p99 from event to changed list {p99_ms:.1f} ms, bound {BOUND_P99_MS:.0f} ms")


def main() -> None:
    """Serve, measure, show; exit code 1 where a visit failed or read an old list."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--users", type=int, default=8, help="users at a time")
    parser.add_argument("--events", type=int, default=4000, help="visits in all, an event each")
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    flags = parser.parse_args()
    manifest = current_manifest(flags.registry)
    setting = {
        "data": manifest.dataset.name,
        "version": manifest.version,
        "items": manifest.dataset.items,
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "users": flags.users,
        "workers": flags.workers,
    }
    with (
        tempfile.TemporaryDirectory(prefix="recsvc-") as scratch,
        serve(flags.registry, Path(scratch) / "data", flags.workers) as service,
    ):
        found = measure(service, flags.users, flags.events, positive_value(manifest))
    if flags.json:
        print(orjson.dumps({**setting, **found}).decode())
    else:
        print(", ".join(f"{name} {value}" for name, value in setting.items()))
        print("clients, service and Redis share these CPUs")
        show(found)
    if found["errors"] or found["changed_at_first_read"] < found["visits"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
