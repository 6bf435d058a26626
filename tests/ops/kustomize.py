"""The Kubernetes manifests as `kubectl apply -k` would send them, and ways around in them.

With kubectl on the PATH it renders. Without, the files of the base are read as they are, the
ConfigMaps generated from theirs; overlays need kubectl.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.ops.dockerfile import ROOT

K8S = ROOT / "k8s"
KUBECTL = shutil.which("kubectl")
ALL = sorted(str(p.parent.relative_to(K8S)) for p in K8S.rglob("kustomization.yaml"))
RENDERABLE = ALL if KUBECTL else ["base"]

Object = dict[str, Any]


def render(name: str) -> list[Object]:
    """All objects of a kustomization.

    Args:
        name: its directory under k8s/.
    """
    return kubectl_render(K8S / name) if KUBECTL else read_files(K8S / name)


def kubectl_render(directory: Path) -> list[Object]:
    """The objects that `kubectl kustomize` prints."""
    assert KUBECTL, "no kubectl on the PATH"
    done = subprocess.run([KUBECTL, "kustomize", directory], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def read_files(directory: Path) -> list[Object]:
    """The objects in the resource files, and the ConfigMaps to be generated, without hashes."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text(encoding="utf-8"))
    objects: list[Object] = []
    for name in kustomization["resources"]:
        objects += yaml.safe_load_all((directory / name).read_text(encoding="utf-8"))
    for generator in kustomization["configMapGenerator"]:
        data = {name: (directory / name).read_text("utf-8") for name in generator.get("files", ())}
        for name in generator.get("envs", ()):
            lines = (directory / name).read_text("utf-8").splitlines()
            data |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        metadata = {"name": generator["name"]}
        objects.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )
    return objects


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """The objects of a kind by name."""
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}


def pods(objects: list[Object]) -> dict[str, Object]:
    """The pod template of everything that makes pods, by the maker's name."""
    found = {}
    for o in objects:
        if o["kind"] in ("Deployment", "StatefulSet"):
            found[o["metadata"]["name"]] = o["spec"]["template"]
        elif o["kind"] == "CronJob":
            found[o["metadata"]["name"]] = o["spec"]["jobTemplate"]["spec"]["template"]
    return found


def container(pod: Object) -> Object:
    """The one container of a pod template."""
    (only,) = pod["spec"]["containers"]
    assert "initContainers" not in pod["spec"]
    found: Object = only
    return found


def environment(pod: Object, objects: list[Object]) -> dict[str, str]:
    """What a container's variables will be: ConfigMaps, then its own, with $(NAME) filled in."""
    config_maps = of_kind(objects, "ConfigMap")
    values: dict[str, str] = {}
    for source in container(pod).get("envFrom", ()):
        values |= config_maps[source["configMapRef"]["name"]]["data"]
    for variable in container(pod).get("env", ()):
        value = variable.get("value", "a-secret")
        values[variable["name"]] = expand(value, values)
    return values


def expand(text: str, values: dict[str, str]) -> str:
    """Fill $(NAME) in, as the kubelet does; what has no value stays."""
    for name, value in values.items():
        text = text.replace(f"$({name})", value)
    return text


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in an object with the keys that lead to it, list positions left out."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, (*path, key))
    elif isinstance(node, list):
        for value in node:
            yield from walk(value, path)
    else:
        yield path, node
