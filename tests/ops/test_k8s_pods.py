"""The pods of the manifests: what they refer to, and what they may do."""

import kubernetes_validate
import pytest
import yaml

from tests.ops.dockerfile import stages
from tests.ops.kustomize import K8S, RENDERABLE, Object, container, of_kind, pods, render

OWN_USERS = {"recsvc-redis": 999}
"""User numbers of images that are not the product's."""


@pytest.fixture(params=RENDERABLE, scope="module")
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """The objects of each kustomization."""
    return render(request.param)


def test_references_lead_somewhere(objects: list[Object]) -> None:
    """Each account, ConfigMap, claim and Secret key that a pod names exists."""
    secret = yaml.safe_load((K8S / "base" / "secret.example.yaml").read_text(encoding="utf-8"))
    claims, maps = of_kind(objects, "PersistentVolumeClaim"), of_kind(objects, "ConfigMap")
    for pod in pods(objects).values():
        assert pod["spec"]["serviceAccountName"] in of_kind(objects, "ServiceAccount")
        for volume in pod["spec"].get("volumes", ()):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            elif "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            else:
                assert "sizeLimit" in volume["emptyDir"]
        for source in container(pod).get("envFrom", ()):
            assert source["configMapRef"]["name"] in maps
        for variable in container(pod).get("env", ()):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["name"] == secret["metadata"]["name"]
                assert reference["key"] in secret["stringData"]


def test_mounts_are_of_volumes(objects: list[Object]) -> None:
    """Each mount names a volume of its pod or a claim template, and each volume is mounted."""
    for name, pod in pods(objects).items():
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", ())}
        if name in of_kind(objects, "StatefulSet"):
            templates = of_kind(objects, "StatefulSet")[name]["spec"]["volumeClaimTemplates"]
            volumes |= {template["metadata"]["name"] for template in templates}
        assert {mount["name"] for mount in container(pod)["volumeMounts"]} == volumes


def test_no_secret_is_rendered(objects: list[Object]) -> None:
    """The Secret is made by hand: none is rendered, and the example holds a placeholder."""
    assert of_kind(objects, "Secret") == {}
    example = yaml.safe_load((K8S / "base" / "secret.example.yaml").read_text(encoding="utf-8"))
    kubernetes_validate.validate(example, kubernetes_validate.latest_version(), strict=True)
    assert example["stringData"] == {"password": "REPLACE-THIS-PLACEHOLDER"}


def test_pods_are_restricted(objects: list[Object]) -> None:
    """Pods fit the "restricted" standard: no root, no capability, a read-only root."""
    own = int(stages()["service"].last("USER").partition(":")[0])
    for name, pod in pods(objects).items():
        user = OWN_USERS.get(name, own)
        assert pod["spec"]["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_pods_get_nothing_from_kubernetes(objects: list[Object]) -> None:
    """No token, and no variables named after Services, which would be taken for settings."""
    for pod in pods(objects).values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False


def test_pods_say_what_they_need(objects: list[Object]) -> None:
    """CPU and memory are requested; memory is limited, CPU is not (throttling is latency)."""
    for pod in pods(objects).values():
        resources = container(pod)["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert set(resources["limits"]) == {"memory"}


def test_registry_is_written_by_training_alone(objects: list[Object]) -> None:
    """Pods that serve mount the registry read-only, where it is a volume."""
    mounts = container(pods(objects)["recsvc"])["volumeMounts"]
    assert all(m["readOnly"] for m in mounts if m["name"] == "registry")
