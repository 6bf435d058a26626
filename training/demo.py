"""The demo: MovieLens-100K, meta-training, evaluation, the service, and one new user over HTTP.

Knows nothing that a user of the product would not know: it runs the product's own commands and
speaks to the service over HTTP.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from training.errors import TrainingError

Say = Callable[[str], None]

CLICKS = ("Aliens", "Blade Runner", "Terminator, The")
"""What the new user of the demo clicks on."""
METHODS = "popularity,late-popularity,demo-pop,item-knn,ease,pure-svd,ials,ours"
_USER = "new-visitor"
_LENGTH = 10
_READY_S = 30.0


def run_demo(work: Path, port: int, say: Say, *, stay: bool) -> None:
    """Fetch, fit, evaluate, serve, click.

    Args:
        work: directory for data, registry, state and finished evaluation runs.
        port: of the service; 0 takes a free one.
        say: told everything that a person should read.
        stay: keep serving until Ctrl-C.

    Raises:
        TrainingError: one of the commands failed; its own message stands above.
    """
    data, registry = work / "movielens-100k", work / "registry"
    _train(["data", "fetch", "movielens-100k", "--out", str(data)])
    say("\n1. Meta-training, and export to ONNX")
    _train(["fit", "--data", str(data), "--registry", str(registry), "--promote"])
    say("\n2. Users that training never saw, ours beside tuned baselines (one split)")
    evaluate = ["evaluate", "--protocol", "cold-user", "--data", str(data), "--seeds", "1"]
    _train([*evaluate, "--methods", METHODS, "--work", str(work / "runs")])
    say("\n3. The service, with its embedded Redis")
    with served(registry, work / "state", port) as address:
        show_adaptation(address, data, say)
        if stay:
            say(f"\nThe playground: {address}/   (reference: {address}/docs; Ctrl-C ends it)")
            _wait()


def show_adaptation(address: str, data: Path, say: Say) -> None:
    """Ask for a new user's list, click three times, and ask again."""
    with httpx.Client(base_url=address, timeout=10.0) as client:
        client.delete(f"/v1/users/{_USER}")
        before = _recommendations(client)
        clicked = [(item, title) for title in CLICKS for item in _find(data, title)]
        events = [
            {"user_id": _USER, "item_id": item, "event_id": f"demo-{item}"} for item, _ in clicked
        ]
        started = time.perf_counter()
        client.post("/v1/events", json={"events": events}).raise_for_status()
        after = _recommendations(client)
        took_ms = (time.perf_counter() - started) * 1000
        titles = {i: _title(client, i) for i in {*before, *after, *(i for i, _ in clicked)}}
    say("   clicks: " + ", ".join(titles[i] for i, _ in clicked))
    say(f"\n   {'before':<44}after ({took_ms:.1f} ms from the clicks to the new list)")
    for rank, (old, new) in enumerate(zip(before, after, strict=True), 1):
        moved = "" if new not in before else f"  (was {before.index(new) + 1})"
        say(f"   {rank:>2} {titles[old]:<41}{rank:>2} {titles[new]}{moved}")
    if before == after:
        raise TrainingError("three clicks changed nothing in the list. This is a bug.")


@contextmanager
def served(registry: Path, state: Path, port: int) -> Iterator[str]:
    """`recsvc serve` as a process of its own; yields its address once it is ready.

    Raises:
        TrainingError: it ended before it was ready, or took too long.
    """
    command = [*_program("recsvc.cli"), "serve", "--registry", str(registry)]
    command += ["--data-dir", str(state), "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603  # our own
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line.rstrip())
        if (address := line.partition("recsvc: ")[2].split(" ")[0]).startswith("http"):
            _until_ready(address.strip())
            return address.strip()
    raise TrainingError("the service ended before it was ready: " + " ".join(said[-3:]))


def _until_ready(address: str) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TrainingError(f"the service at {address} was not ready within {_READY_S:g} s")


def _train(arguments: Sequence[str]) -> None:
    done = subprocess.run([*_program("training.cli"), *arguments], check=False)  # noqa: S603  # our own
    if done.returncode != 0:
        raise TrainingError(f"`recsvc-train {' '.join(arguments)}` ended with {done.returncode}")


def _program(module: str) -> list[str]:
    return [sys.executable, "-c", f"from {module} import main; main()"]


def _recommendations(client: httpx.Client) -> list[str]:
    answer = client.get(f"/v1/users/{_USER}/recommendations", params={"k": _LENGTH})
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return [item["item_id"] for item in items]


def _title(client: httpx.Client, item_id: str) -> str:
    features = client.get(f"/v1/items/{item_id}").raise_for_status().json()["features"]
    year = f" ({features['year']})" if features.get("year") else ""
    return f"{features['title']}{year}"[:40]


def _find(data: Path, title: str) -> list[str]:
    """The item of this title."""
    import polars as pl

    items = pl.read_parquet(data / "items.parquet")
    found = items.filter(pl.col("title").str.starts_with(title)).sort("item_id")
    return [str(i) for i in found["item_id"][:1]]


def _wait() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
