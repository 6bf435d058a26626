"""The manifests: rendered, valid, and consistent with one another."""

import copy
import sys
from typing import Any

import kubernetes_validate
import pytest

from tests.ops.kustomize import (
    ALL,
    K8S,
    KUBECTL,
    RENDERABLE,
    Object,
    container,
    kubectl_render,
    of_kind,
    pods,
    read_files,
    render,
    walk,
)

VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""The oldest Kubernetes that must take the manifests, and the newest that is known."""

ENUMS: dict[str, set[str]] = {
    "accessModes": {"ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"},
    "concurrencyPolicy": {"Allow", "Forbid", "Replace"},
    "fsGroupChangePolicy": {"OnRootMismatch", "Always"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "policyTypes": {"Ingress", "Egress"},
    "protocol": {"TCP", "UDP", "SCTP"},
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "unhealthyPodEvictionPolicy": {"AlwaysAllow", "IfHealthyBudget"},
    "whenUnsatisfiable": {"ScheduleAnyway", "DoNotSchedule"},
    "spec.type": {"ClusterIP", "NodePort", "LoadBalancer"},
    "seccompProfile.type": {"RuntimeDefault", "Localhost", "Unconfined"},
    "strategy.type": {"RollingUpdate", "Recreate"},
    "metrics.type": {"Resource", "Pods", "Object", "External", "ContainerResource"},
    "target.type": {"Utilization", "Value", "AverageValue"},
    "drop": {"ALL"},
}
"""What schemas leave open: allowed values by key, by the last two keys where it is a `type`."""


def enum_mistakes(thing: Object) -> list[str]:
    """Values that are none of their enumeration, and types of which none is known."""
    mistakes = []
    for path, value in walk(thing):
        key = ".".join(path[-2:]) if path[-1] == "type" else path[-1]
        allowed = ENUMS.get(key, set() if path[-1] == "type" else None)
        if allowed is not None and value not in allowed:
            mistakes.append(f"{'.'.join(path)}: {value!r} is none of {sorted(allowed)}")
    return mistakes


def selects(selector: dict[str, Any], pod: Object) -> bool:
    """Whether a selector's labels are all on a pod template."""
    labels = selector.get("matchLabels", selector)
    assert labels, "an empty selector selects everything"
    return bool(labels.items() <= pod["metadata"]["labels"].items())


@pytest.fixture(params=RENDERABLE, scope="module")
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """The objects of each kustomization."""
    return render(request.param)


def test_rendering_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    """A run that could not render the overlays says so."""
    if KUBECTL is None:
        with capfd.disabled():
            print(  # noqa: T201 - for the person who reads the test run
                f"\nk8s: no kubectl on the PATH: the files of k8s/base were checked as they are, "
                f"and {sorted(set(ALL) - set(RENDERABLE))} not at all; "
                "install kubectl (https://kubernetes.io/docs/tasks/tools/) to check them too",
                file=sys.stderr,
            )
    assert "base" in RENDERABLE


def plain(node: Any, names: dict[str, str]) -> Any:
    """An object without what kubectl adds: hashes in names, the common label, empty maps."""
    if isinstance(node, dict):
        parts = {k: plain(v, names) for k, v in node.items() if k != "app.kubernetes.io/part-of"}
        return {k: v for k, v in parts.items() if v != {}}
    if isinstance(node, list):
        return [plain(v, names) for v in node]
    return names.get(node, node) if isinstance(node, str) else node


def test_without_kubectl_the_same_is_checked() -> None:
    """Reading the base's files gives what kubectl renders, but for hashes and one label."""
    read = read_files(K8S / "base")
    rendered = kubectl_render(K8S / "base") if KUBECTL else read
    generated = of_kind(read, "ConfigMap")
    names = {m: m.rpartition("-")[0] for m in of_kind(rendered, "ConfigMap") if m not in generated}
    expected = {(o["kind"], o["metadata"]["name"]): o for o in plain(rendered, names)}
    assert {(o["kind"], o["metadata"]["name"]): o for o in plain(read, {})} == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid(objects: list[Object], version: str) -> None:
    """Every object fits Kubernetes' schema, unknown fields refused."""
    for o in objects:
        kubernetes_validate.validate(o, version, strict=True)


def test_enumerations_are_spelt_right(objects: list[Object]) -> None:
    """Values that the schema takes as any text are ones that Kubernetes knows."""
    assert [m for o in objects for m in enum_mistakes(o)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "strategy", "type"), "RollingUpdates"),
        (("spec", "template", "spec", "containers", 0, "imagePullPolicy"), "IfNotPresnt"),
        (("spec", "template", "spec", "securityContext", "seccompProfile", "type"), "Default"),
    ],
)
def test_misspelt_enumeration_is_found(path: tuple[str | int, ...], value: str) -> None:
    """The check of enumerations finds what the schema lets pass."""
    deployment = copy.deepcopy(of_kind(render("base"), "Deployment")["recsvc"])
    parent: Any = deployment
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    assert len(enum_mistakes(deployment)) == 1


def test_everything_that_is_needed_is_there(objects: list[Object]) -> None:
    """The deployment is whole: service, state, scaling, protection, retraining."""
    assert {(o["kind"], o["metadata"]["name"]) for o in objects} >= {
        ("Deployment", "recsvc"),
        ("Service", "recsvc"),
        ("HorizontalPodAutoscaler", "recsvc"),
        ("PodDisruptionBudget", "recsvc"),
        ("StatefulSet", "recsvc-redis"),
        ("Service", "recsvc-redis"),
        ("CronJob", "recsvc-retrain"),
        ("NetworkPolicy", "recsvc-api"),
        ("NetworkPolicy", "recsvc-redis"),
        ("NetworkPolicy", "recsvc-training"),
        ("ServiceAccount", "recsvc"),
    }


def test_controllers_select_their_own_pods(objects: list[Object]) -> None:
    """A Deployment's, StatefulSet's and spread constraint's selector is on its own template."""
    templates = pods(objects)
    for kind in ("Deployment", "StatefulSet"):
        for name, o in of_kind(objects, kind).items():
            assert selects(o["spec"]["selector"], templates[name])
            for constraint in templates[name]["spec"].get("topologySpreadConstraints", ()):
                assert selects(constraint["labelSelector"], templates[name])


def test_services_lead_to_ports(objects: list[Object]) -> None:
    """A Service selects the pods of one maker, which open the port that it targets."""
    for name, service in of_kind(objects, "Service").items():
        (pod,) = [p for p in pods(objects).values() if selects(service["spec"]["selector"], p)]
        assert pod == pods(objects)[name]
        opened = {port["name"] for port in container(pod)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened
    for o in of_kind(objects, "StatefulSet").values():
        assert o["spec"]["serviceName"] in of_kind(objects, "Service")


def test_scaling_and_budget_are_of_the_deployment(objects: list[Object]) -> None:
    """Autoscaler and disruption budget act on the Deployment, which leaves its size to them."""
    deployment = of_kind(objects, "Deployment")["recsvc"]
    scaler = of_kind(objects, "HorizontalPodAutoscaler")["recsvc"]["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": "recsvc",
    }
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    assert "replicas" not in deployment["spec"]
    (budget,) = of_kind(objects, "PodDisruptionBudget").values()
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_network_policies_cover_every_pod(objects: list[Object]) -> None:
    """Each pod is under a policy for both directions, and each selector in one selects pods."""
    policies = of_kind(objects, "NetworkPolicy").values()
    for pod in pods(objects).values():
        (policy,) = [p for p in policies if selects(p["spec"]["podSelector"], pod)]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    for policy in policies:
        rules = [*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())]
        for peer in [p for rule in rules for p in (*rule.get("from", ()), *rule.get("to", ()))]:
            assert any(selects(peer["podSelector"], pod) for pod in pods(objects).values())


def test_redis_is_reached_by_those_who_use_it(objects: list[Object]) -> None:
    """Pods that have Redis' URL may connect to it, and every admitted selector is of pods."""
    (ingress,) = of_kind(objects, "NetworkPolicy")["recsvc-redis"]["spec"]["ingress"]
    admitted = [peer["podSelector"] for peer in ingress["from"]]
    for name, pod in pods(objects).items():
        if any(v["name"] == "RECSVC_REDIS_URL" for v in container(pod).get("env", ())):
            assert any(selects(s, pod) for s in admitted), name
    assert all(any(selects(s, p) for p in pods(objects).values()) for s in admitted)
