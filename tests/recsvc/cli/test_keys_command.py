"""`recsvc keys`, and what a running service makes of the keys."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from recsvc.cli import run
from tests.recsvc.api.calls import problem, record
from tests.recsvc.bundles import WHITE, publish_world
from tests.recsvc.redis_server import RedisServer, eventually
from tests.recsvc.service_process import ServiceProcess


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


def keys(redis: RedisServer, *arguments: str) -> Done:
    """Run the command once."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run(("keys", *arguments, "--redis-url", redis.url))
    return Done(code, out.getvalue(), err.getvalue())


def make(redis: RedisServer, scope: str) -> dict[str, str]:
    """A new key, as the header that sends it."""
    made = keys(redis, "create", f"the {scope} one", "--scope", scope)
    assert made.code == 0, made.err
    return {"Authorization": f"Bearer {made.out.strip()}"}


def listed(redis: RedisServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(keys(redis, "list", "--json").out)
    return found


@pytest.fixture
def service(tmp_path: Path, redis_server: RedisServer) -> Iterator[ServiceProcess]:
    """Two versions, the second current."""
    registry = tmp_path / "registry"
    publish_world(registry, "v1")
    publish_world(registry, "v2", inverted=True)
    with ServiceProcess(registry, redis_url=redis_server.url) as process:
        yield process


def test_keys_are_made_listed_and_revoked(redis_server: RedisServer) -> None:
    """A key is shown once; what is listed and stored does not give it away."""
    assert "open" in keys(redis_server, "list").err
    secret = make(redis_server, "write")["Authorization"].removeprefix("Bearer ")
    (key,) = listed(redis_server)
    assert (key["name"], key["scope"]) == ("the write one", "write")
    assert key.keys() == {"key_id", "name", "scope", "created_at"}
    assert key["key_id"] in keys(redis_server, "list").out
    with redis_server.client() as client:
        assert secret.encode() not in repr(client.hgetall("recsvc:keys")).encode()
        assert client.ttl("recsvc:keys") == -1
    assert keys(redis_server, "revoke", key["key_id"]).code == 0
    again = keys(redis_server, "revoke", key["key_id"])
    assert (again.code, listed(redis_server)) == (2, [])
    assert key["key_id"] in again.err


@pytest.mark.parametrize("arguments", [("create", "x", "--scope", "root"), ("create", "")])
def test_a_wrong_key_is_refused(redis_server: RedisServer, arguments: tuple[str, ...]) -> None:
    """An unknown scope, no name: one line, exit code 2, nothing made."""
    refused = keys(redis_server, *arguments)
    assert (refused.code, listed(redis_server)) == (2, [])
    assert "allowed" in refused.err


def test_keys_guard_a_running_service(service: ServiceProcess, redis_server: RedisServer) -> None:
    """Open before the first key, closed without one after it, and again once it is revoked."""
    http = service.http
    record(http, "u", WHITE[0])
    problem(http.post("/v1/models/v1/activate"), 403)
    reader, admin = make(redis_server, "read"), make(redis_server, "admin")
    eventually(lambda: http.get("/v1/models").status_code == 401, "the keys are known")
    refused = http.get("/v1/users/u/recommendations")
    problem(refused, 401)
    assert refused.headers["www-authenticate"] == "Bearer"
    eventually(
        lambda: http.get("/v1/models", headers=admin).status_code == 200, "both keys are known"
    )
    assert http.get("/v1/users/u/recommendations", headers=reader).status_code == 200
    assert http.post("/v1/recommendations", json={}, headers=reader).status_code == 200
    detail = problem(http.post("/v1/events", json={"events": []}, headers=reader), 403)["detail"]
    assert "'write'" in detail
    assert [http.get(path).status_code for path in ("/livez", "/readyz", "/metrics")] == [200] * 3
    (key_id,) = (key["key_id"] for key in listed(redis_server) if key["scope"] == "read")
    keys(redis_server, "revoke", key_id)
    eventually(
        lambda: http.get("/v1/models", headers=reader).status_code == 401, "the key is refused"
    )


def test_models_are_activated_and_rolled_back(
    service: ServiceProcess, redis_server: RedisServer
) -> None:
    """The answer comes when the version serves; what cannot serve changes nothing."""
    http, admin = service.http, make(redis_server, "admin")
    eventually(lambda: http.get("/v1/models").status_code == 401, "the keys are known")
    http.headers.update(admin)

    def serving() -> str:
        answer = http.post("/v1/recommendations", json={"support": [{"item_id": WHITE[0]}]})
        return str(answer.json()["model_version"])

    answer = http.post("/v1/models/v1/activate").json()
    assert (answer["version"], answer["previous"], serving()) == ("v1", "v2", "v1")
    assert http.post("/v1/models/v1/activate").json() == answer
    assert http.post("/v1/models/rollback").json()["version"] == "v2"
    assert serving() == "v2"
    assert "v9" in problem(http.post("/v1/models/v9/activate"), 404)["detail"]
    for odd in ("..", "%2e%2e", "a%2Fb", "v 1"):
        assert http.post(f"/v1/models/{odd}/activate").status_code in (404, 422)
    vectors = service.registry / "v1" / "item_vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"\x01")
    assert "stays" in problem(http.post("/v1/models/v1/activate"), 409)["detail"]
    assert "stays" in problem(http.post("/v1/models/rollback"), 409)["detail"]
    assert serving() == "v2"
