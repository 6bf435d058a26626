"""`recsvc archive`: the event log of a running service, as files."""

import subprocess
from pathlib import Path

from tests.recsvc.api.calls import record
from tests.recsvc.bundles import WHITE, publish_world
from tests.recsvc.redis_server import RedisServer
from tests.recsvc.service_process import RECSVC, ServiceProcess, clean_environment


def archive(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command once."""
    return subprocess.run(
        [RECSVC, "archive", "--out", out, "--once", *options],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_events_are_drained_once(tmp_path: Path, redis_server: RedisServer) -> None:
    """What was recorded over HTTP lies in Parquet files afterwards, and not twice."""
    publish_world(tmp_path / "registry", "v1")
    with ServiceProcess(tmp_path / "registry", redis_url=redis_server.url) as service:
        record(service.http, "u", *WHITE[:3])
        service.http.put("/v1/items/new", json={"features": {"colour": "white"}})
    out = tmp_path / "out"
    first = archive(out, "--redis-url", redis_server.url)
    assert first.returncode == 0, first.stderr
    assert "3 events, 0 user features, 1 items" in first.stdout
    assert len(list(out.glob("date=*/part-*.parquet"))) == 1
    assert "0 events" in archive(out, "--redis-url", redis_server.url).stdout


def test_a_missing_redis_is_named(tmp_path: Path) -> None:
    """Without a Redis there is nothing to drain; one line, exit code 2."""
    for options, named in (((), "--redis-url"), (("--redis-url", "unix:///no.sock"), "no.sock")):
        done = archive(tmp_path, *options)
        assert done.returncode == 2
        assert named in done.stderr
