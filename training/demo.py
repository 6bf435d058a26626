"""The demo: MovieLens-100K, meta-training, evaluation, the service, and new users over HTTP.

Knows nothing that a user of the product would not know: it runs the product's own commands and
speaks to the service over HTTP.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recsvc.client import Client, ClientError, Event, Retries, calls
from training.errors import TrainingError

Say = Callable[[str], None]

VISITORS = {
    "old crime films": ("Maltese Falcon, The", "Chinatown", "Big Sleep, The"),
    "old Disney films": ("Snow White and the Seven Dwarfs", "Cinderella", "Pinocchio"),
}
"""What the new users of the demo click on: three films of a kind that the first list, which is what
most people like, has none of. Who clicks on what is in it anyway sees less change."""
METHODS = "popularity,late-popularity,demo-pop,item-knn,ease,pure-svd,ials,ours"
_LENGTH = 10
"""Of a list; the service's own default."""
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
        for taste, clicks in VISITORS.items():
            show_adaptation(address, data, taste, clicks, say)
        if stay:
            say(f"\nThe playground: {address}/   (reference: {address}/docs; Ctrl-C ends it)")
            _wait()


def show_adaptation(address: str, data: Path, taste: str, clicks: Sequence[str], say: Say) -> None:
    """Ask for a new user's list, click, and ask again.

    Args:
        address: of the service.
        data: the data set, to find the clicked titles in.
        taste: what the user likes, in words; makes the user's id.
        clicks: beginnings of titles.
        say: told clicks, both lists, and how many titles are new.

    Raises:
        TrainingError: nothing changed.
    """
    user = f"new-visitor-{taste.replace(' ', '-')}"
    with Client(address) as client:
        client.send(calls.erase_user(user))
        before = _recommendations(client, user)
        clicked = [item for title in clicks for item in _find(data, title)]
        events = [Event(user, i, event_id=f"demo-{i}") for i in clicked]
        started = time.perf_counter()
        client.send(calls.record(events))
        after = _recommendations(client, user)
        took_ms = (time.perf_counter() - started) * 1000
        titles = {i: _title(client, i) for i in {*before, *after, *clicked}}
    say(f"\n   A new visitor who likes {taste} clicks: " + ", ".join(titles[i] for i in clicked))
    say(f"\n   {'before':<46}after ({took_ms:.1f} ms from the clicks to the new list)")
    for rank, (old, new) in enumerate(zip(before, after, strict=True), 1):
        moved = f"(was {before.index(new) + 1})" if new in before else "(new)"
        say(f"   {rank:>2} {titles[old]:<43}{rank:>2} {titles[new]} {moved}")
    moved_places = sum(old != new for old, new in zip(before, after, strict=True))
    n_new = len(set(after) - set(before))
    say(f"   {n_new} of {_LENGTH} titles are new, {moved_places} of {_LENGTH} places changed")
    if before == after:
        raise TrainingError("the clicks changed nothing in the list. This is a bug.")


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
    with Client(address, retries=Retries(attempts=1)) as client:
        while time.monotonic() < deadline:
            try:
                client.send(calls.ready())
            except ClientError:
                time.sleep(0.05)
            else:
                return
    raise TrainingError(f"the service at {address} was not ready within {_READY_S:g} s")


def _train(arguments: Sequence[str]) -> None:
    done = subprocess.run([*_program("training.cli"), *arguments], check=False)  # noqa: S603  # our own
    if done.returncode != 0:
        raise TrainingError(f"`recsvc-train {' '.join(arguments)}` ended with {done.returncode}")


def _program(module: str) -> list[str]:
    return [sys.executable, "-c", f"from {module} import main; main()"]


def _recommendations(client: Client, user: str) -> list[str]:
    answer = client.send(calls.recommendations(user, k=_LENGTH))
    return [item.item_id for item in answer.items]


def _title(client: Client, item_id: str) -> str:
    features = client.send(calls.item(item_id)).features
    year = f" ({features['year']})" if features.get("year") else ""
    return f"{features['title'][:35]}{year}"


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
