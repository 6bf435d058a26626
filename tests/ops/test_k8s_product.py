"""The manifests agree with the product: its routes, settings, commands, images and times."""

import os
import re
from urllib.parse import urlsplit

import pytest

from recsvc.app import ROUTERS
from recsvc.settings import CONFIG_VARIABLE, ENV_PREFIX, Settings
from tests.ops.command_lines import PROJECT, check
from tests.ops.dockerfile import stages
from tests.ops.kustomize import (
    RENDERABLE,
    Object,
    container,
    environment,
    expand,
    of_kind,
    pods,
    render,
)
from training.schedule import parse_cron

STAGE_OF_IMAGE = {"recsvc": "service", "recsvc-training": "training"}


@pytest.fixture(params=RENDERABLE, scope="module")
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """The objects of each kustomization."""
    return render(request.param)


def own_pods(objects: list[Object]) -> dict[str, Object]:
    """The pods that run the product's images."""
    return {name: pod for name, pod in pods(objects).items() if image(pod)[0] in STAGE_OF_IMAGE}


def image(pod: Object) -> tuple[str, str]:
    """(name without where it is kept, tag)."""
    name, _, tag = container(pod)["image"].rpartition("/")[2].partition(":")
    return name, tag


def routes() -> set[str]:
    """Every path of the API."""
    return {route.path for module in ROUTERS for route in module.router.routes}


def test_images_are_of_this_version(objects: list[Object]) -> None:
    """The product's images carry the version of the project; no image is `latest`."""
    assert {image(pod)[0] for pod in own_pods(objects).values()} == set(STAGE_OF_IMAGE)
    for pod in own_pods(objects).values():
        assert image(pod)[1].partition("-")[0] == PROJECT["version"]
    for pod in pods(objects).values():
        assert re.match(r"\d", image(pod)[1])


def test_commands_are_real(objects: list[Object]) -> None:
    """Each pod's arguments, filled in, are a command line of its image's console script."""
    for pod in own_pods(objects).values():
        (script,) = stages()[STAGE_OF_IMAGE[image(pod)[0]]].last_list("ENTRYPOINT")
        assert "command" not in container(pod)
        values = environment(pod, objects)
        arguments = [expand(a, values) for a in container(pod)["args"]]
        assert "$(" not in " ".join(arguments)
        check(script, arguments)


def test_settings_are_real(objects: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The service takes the variables of every pod: each is a setting, with an allowed value."""
    for pod in own_pods(objects).values():
        for name in [n for n in os.environ if n.startswith(ENV_PREFIX)]:
            monkeypatch.delenv(name)
        values = environment(pod, objects)
        assert CONFIG_VARIABLE not in values
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        settings = Settings.load()
        given = {n.removeprefix(ENV_PREFIX).lower() for n in values if n.startswith(ENV_PREFIX)}
        assert given == settings.model_fields_set


def test_service_finds_redis(objects: list[Object]) -> None:
    """The Redis URL names the Service of Redis and its port, and carries the Secret's password."""
    services = of_kind(objects, "Service")
    for name in ("recsvc", "recsvc-retrain"):
        values = environment(pods(objects)[name], objects)
        url = urlsplit(values["RECSVC_REDIS_URL"])
        assert url.password == values["REDIS_PASSWORD"]
        assert url.hostname is not None
        assert [p["port"] for p in services[url.hostname]["spec"]["ports"]] == [url.port]


def test_port_is_the_settings(objects: list[Object]) -> None:
    """The container opens the port that the service listens on, on every address."""
    pod = pods(objects)["recsvc"]
    values = environment(pod, objects)
    (port,) = container(pod)["ports"]
    assert str(port["containerPort"]) == values["RECSVC_PORT"]
    assert values["RECSVC_HOST"] == "0.0.0.0"


def test_probes_ask_real_routes(objects: list[Object]) -> None:
    """Probes ask paths that the API has; liveness asks the one that never touches Redis."""
    probed = container(pods(objects)["recsvc"])
    asked = {kind: probed[kind]["httpGet"] for kind in probed if kind.endswith("Probe")}
    assert {kind: get["path"] for kind, get in asked.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {get["path"] for get in asked.values()} <= routes()
    assert {get["port"] for get in asked.values()} == {probed["ports"][0]["name"]}


def test_prometheus_scrapes_a_real_route(objects: list[Object]) -> None:
    """The scrape annotations name the port and a path that the API has."""
    pod = pods(objects)["recsvc"]
    notes = pod["metadata"]["annotations"]
    assert notes["prometheus.io/scrape"] == "true"
    assert notes["prometheus.io/port"] == str(container(pod)["ports"][0]["containerPort"])
    assert notes["prometheus.io/path"] in routes()


def test_stopping_takes_less_than_the_grace_period(objects: list[Object]) -> None:
    """A pod is killed only after its load balancers and its open requests had their time."""
    pod = pods(objects)["recsvc"]
    command, pause_s = container(pod)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    stop_s = Settings.model_fields["stop_timeout_s"].default
    assert pod["spec"]["terminationGracePeriodSeconds"] >= int(pause_s) + stop_s + 5


def test_mounts_are_where_the_settings_point(objects: list[Object]) -> None:
    """A registry that is a directory is mounted there; training's directories are mounted too."""
    for pod in own_pods(objects).values():
        mounted = {m["mountPath"] for m in container(pod)["volumeMounts"]}
        registry = environment(pod, objects)["RECSVC_REGISTRY"]
        assert ("://" in registry) == (registry not in mounted)
        options = [a.partition("=")[::2] for a in container(pod)["args"]]
        for option, value in options:
            if option in ("--data", "--archive"):
                assert any(value.startswith(f"{m}/") for m in mounted)


def test_retraining_runs_alone_and_ends(objects: list[Object]) -> None:
    """Retraining never overlaps itself, has an end, and its schedule is one."""
    job = of_kind(objects, "CronJob")["recsvc-retrain"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
    assert "suspend" not in job
    assert container(pods(objects)["recsvc-retrain"])["args"][:2] == ["retrain", "--once"]
    parse_cron(job["schedule"])


@pytest.mark.parametrize("name", ["recsvc-fit", "recsvc-rollback"])
def test_templates_never_run_by_themselves(objects: list[Object], name: str) -> None:
    """The jobs that a person starts are suspended, and end."""
    job = of_kind(objects, "CronJob")[name]["spec"]
    assert job["suspend"] is True
    assert job["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0


def test_rollback_is_tried_once(objects: list[Object]) -> None:
    """A rollback is not repeated: the second one would undo the first."""
    job = of_kind(objects, "CronJob")["recsvc-rollback"]["spec"]["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"
