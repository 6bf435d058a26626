"""The loop on real processes: fit, serve, events over HTTP, retrain, swap without a restart."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.recsvc.redis_server import eventually
from tests.recsvc.service_process import ServiceProcess, clean_environment
from training.datasets.synth import SynthSpec, synth, write_synth

pytestmark = pytest.mark.slow

USERS, ITEMS, PER_USER = 250, 80, 24
SPEC = SynthSpec(users=USERS, items=ITEMS, interactions=USERS * PER_USER)


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from training.cli import main; main()", *arguments]
    return subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, timeout=170, check=False
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base data of one world, and a first model."""
    path = tmp_path_factory.mktemp("loop")
    write_synth(SPEC, 0, path / "data")
    done = train(
        "fit", "--data", str(path / "data"), "--registry", str(path / "registry"),
        "--max-epochs", "3", "--kernel-epochs", "3", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[ServiceProcess]:
    running = ServiceProcess(place / "registry", data_dir=place / "d").start()
    yield running
    running.stop()


def send_new_users(service: ServiceProcess, users: int) -> int:
    """Events of users from the same world whom the model has never seen."""
    world = synth(SPEC, 1).interactions
    names = world["user_id"].unique(maintain_order=True)[:users]
    rows = world.filter(world["user_id"].is_in(names.to_list()))
    events = [
        {"user_id": f"new-{u}", "item_id": i, "event_id": f"{u}-{i}", "timestamp": 1.7e9 + k}
        for k, (u, i) in enumerate(rows.select("user_id", "item_id").iter_rows())
    ]
    for start in range(0, len(events), 1000):
        answer = service.http.post("/v1/events", json={"events": events[start : start + 1000]})
        assert answer.status_code == 200, answer.text
    return len(events)


def retrain(place: Path, service: ServiceProcess, *extra: str) -> dict[str, object]:
    done = train(
        "retrain", "--once", "--data", str(place / "data"), "--registry", str(place / "registry"),
        "--archive", str(place / "archive"), "--redis-url", redis_url(service), "--max-epochs", "3",
        "--kernel-epochs", "3", "--device", "cpu", "--json", *extra,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def redis_url(service: ServiceProcess) -> str:
    """Where the embedded Redis listens, as the service says when it starts."""
    found = re.search(r"Redis (unix://\S+)", service.log)
    assert found is not None
    return found[1]


def test_events_become_a_new_model_that_serves_without_a_restart(
    place: Path, service: ServiceProcess
) -> None:
    """Nothing new: skipped. New users: a candidate, judged on those held out, and served."""
    before = service.http.get("/readyz").json()["model_version"]
    assert retrain(place, service)["outcome"] == "skipped"
    sent = send_new_users(service, 100)
    pid = service.pid
    result = retrain(place, service, "--margin", "1", "--min-users", "10")
    assert result["events"] == sent
    assert result["outcome"] == "promoted", result
    verdict = json.loads((place / "registry" / str(result["version"]) / "gate.json").read_text())
    assert 10 <= verdict["users"] <= 50
    assert np.isfinite([verdict["candidate"], verdict["current"], verdict["low"]]).all()
    eventually(
        lambda: service.http.get("/readyz").json()["model_version"] == result["version"],
        "the service swaps to the promoted version",
    )
    assert result["version"] != before
    assert service.pid == pid
    answer = service.http.get("/v1/users/new-anybody/recommendations").json()
    assert answer["model_version"] == result["version"]
    assert retrain(place, service)["outcome"] == "skipped"
