"""The images, as far as they can be proven without building them."""

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import requires
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from recsvc.settings import ENV_PREFIX, Settings
from tests.ops.command_lines import PROJECT, check
from tests.ops.dockerfile import ROOT, Stage, parse, stages

TRAINING_ONLY = {
    "implicit",
    "onnx",
    "onnxscript",
    "optuna",
    "pandas",
    "polars",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "torch",
    "wordllama",
}


def installed_closure(requirements: list[str]) -> set[str]:
    """Every distribution that pip would install for requirements, by what is installed here."""
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(r), "") for r in requirements]
    while waiting:
        requirement, wanted_by = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": wanted_by}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(Requirement(r), extra) for r in requires(name) or ()]
    return {name for name, _ in seen}


def pip_install(stage: Stage) -> str:
    """The one pip command of a stage."""
    (command,) = [run for run in stage.all("RUN") if "pip install" in run]
    return command


def packages_stage(stage: Stage) -> Stage:
    """The stage whose packages an image takes over."""
    (copied,) = [c for c in stage.all("COPY") if c.startswith("--from=")]
    origin, source, target = copied.split()
    assert source == target == "/opt/recsvc"
    return stages()[origin.removeprefix("--from=")]


def test_hadolint_finds_nothing() -> None:
    """The linter passes, with no rule ignored."""
    hadolint = Path(sys.executable).parent / "hadolint"
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")
    assert "hadolint ignore" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_bases_are_pinned() -> None:
    """Every stage rests on an earlier one or on a slim Python of the oldest supported version."""
    minor = PROJECT["requires-python"].removeprefix(">=")
    known = {f"python:{minor}-slim-bookworm"}
    for stage in parse(ROOT / "Dockerfile"):
        assert stage.base in known
        known.add(stage.name)


def test_service_is_the_default_target() -> None:
    """A build without a target gives the service."""
    assert parse(ROOT / "Dockerfile")[-1].name == "service"


def test_service_installs_no_extra() -> None:
    """The service's packages are the base dependencies, at the constraints' versions."""
    packages = packages_stage(stages()["service"])
    assert packages.all("ARG") == ['EXTRAS=""']
    assert pip_install(packages).endswith('pip install -c constraints.txt ".${EXTRAS}"')


def test_service_builds_on_nothing_installed() -> None:
    """No stage under the service, or under its packages, installs anything by pip."""
    by_name = stages()
    for stage in (by_name["service"], packages_stage(by_name["service"])):
        below = stage.base
        while below in by_name:
            assert not any("pip install" in run for run in by_name[below].all("RUN"))
            assert not by_name[below].all("COPY") or below == "source"
            below = by_name[below].base


def test_training_installs_its_extra() -> None:
    """The training image's packages are those of the training extra, and buckets."""
    command = pip_install(packages_stage(stages()["training"]))
    assert command.endswith('pip install -c constraints.txt ".[training,s3]"')
    assert {"training", "s3"} <= set(PROJECT["optional-dependencies"])


def test_base_dependencies_hold_nothing_of_training() -> None:
    """Whatever the base dependencies need, none of it is a library that only training uses."""
    closure = installed_closure(PROJECT["dependencies"])
    assert {"fastapi", "numpy", "hiredis", "uvloop"} <= closure
    assert closure & TRAINING_ONLY == set()


def test_closure_follows_extras() -> None:
    """The walk that finds nothing of training in the base finds it in the training extra."""
    closure = installed_closure(PROJECT["optional-dependencies"]["training"])
    assert {"torch", "onnx", "onnxscript", "polars", "pyarrow", "scipy"} <= closure


def test_base_dependencies_are_constrained() -> None:
    """Each distribution that the service image gets has its version in the constraints file."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(Requirement(line).name) for line in lines}
    assert installed_closure(PROJECT["dependencies"]) - pinned == set()


def test_copied_files_exist_and_reach_the_build() -> None:
    """Every file that a stage copies is in the repository and not kept out by .dockerignore."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for stage in stages().values():
        for arguments in stage.all("COPY"):
            if arguments.startswith("--from="):
                continue
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{PurePosixPath(source)}" in ignored, source


def test_build_has_what_packaging_reads() -> None:
    """The readme and licence that pyproject.toml names, and the packages, are copied."""
    copied = {
        str(PurePosixPath(source))
        for arguments in stages()["source"].all("COPY")
        for source in arguments.split()[:-1]
    }
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    include = tomllib.loads(text)["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {pattern.removesuffix("*") for pattern in include}
    assert {PROJECT["readme"], *PROJECT["license-files"], *packages} <= copied


@pytest.mark.parametrize("image", ["service", "training"])
def test_runs_as_nobody_in_particular(image: str) -> None:
    """The user is a number other than root's: Kubernetes can tell that it is not root."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stages()[image].last("USER"))


def test_service_command_is_real() -> None:
    """What the service image runs by default is a command line that `recsvc` takes."""
    service = stages()["service"]
    (script,) = service.last_list("ENTRYPOINT")
    check(script, service.last_list("CMD"))


def test_training_command_is_real() -> None:
    """The training image runs a console script of the project."""
    assert stages()["training"].last_list("ENTRYPOINT") == ["recsvc-train"]
    assert "recsvc-train" in PROJECT["scripts"]


def test_service_environment_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that the image sets are settings with allowed values."""
    environment = stages()["service"].environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert {n for n in environment if n.startswith(ENV_PREFIX)} == {
        f"{ENV_PREFIX}{field.upper()}" for field in settings.model_fields_set
    }
    assert settings.data_dir == Path(stages()["service"].last_list("VOLUME")[0])
    assert str(settings.port) == stages()["service"].last("EXPOSE")


class _Live(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing."""


@pytest.fixture
def live_port() -> Iterator[int]:
    """A server that answers 200 on /livez alone."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Live) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def health_check(port: int, path: str = "/livez") -> int:
    """Run the image's health check against a port and return its exit code."""
    _, _, command = stages()["service"].last("HEALTHCHECK").partition(" CMD ")
    program, *arguments = Stage("", "", [("CMD", command)]).last_list("CMD")
    assert program == "python"
    arguments = [a.replace("/livez", path) for a in arguments]
    environment = {"RECSVC_PORT": str(port)}
    command_line = [sys.executable, *arguments]
    return subprocess.run(command_line, env=environment, stderr=subprocess.DEVNULL).returncode


def test_health_check_passes_while_alive(live_port: int) -> None:
    """The health check ends 0 where /livez answers 200."""
    assert health_check(live_port) == 0


def test_health_check_fails_otherwise(live_port: int) -> None:
    """The health check ends 1 on another status, and where nothing listens."""
    assert health_check(live_port, "/elsewhere") == 1
    assert health_check(1) == 1
