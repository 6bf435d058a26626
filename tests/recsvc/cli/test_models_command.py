"""`recsvc models`: the registry by hand."""

import json
from pathlib import Path

import pytest

from recsvc.cli import run
from tests.recsvc.bundles import COLOUR_KERNEL, publish_world


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    publish_world(tmp_path, "v1")
    publish_world(tmp_path, "v2")
    publish_world(tmp_path, "v3", promote=False)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(arguments)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_list_marks_the_current_version(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Versions come oldest first, with their roles; as JSON for machines."""
    code, out, _ = call(capsys, "models", "list", "--registry", str(registry))
    assert (code, out) == (0, "v1  previous\nv2  current\nv3\n")
    _, out, _ = call(capsys, "models", "list", "--registry", str(registry), "--json")
    assert json.loads(out)[1] == {"version": "v2", "role": "current"}


def test_show_describes_a_version(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The current one unless another is named; as JSON the whole manifest."""
    code, out, _ = call(capsys, "models", "show", "--registry", str(registry))
    assert code == 0
    assert "version: v2" in out
    assert "checkerboard" in out
    _, out, _ = call(capsys, "models", "show", "v3", "--registry", str(registry), "--json")
    assert json.loads(out)["version"] == "v3"


def test_show_says_whether_there_is_a_kernel(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its edges and weights in one line; a version without one says so."""
    publish_world(registry, "v4", kernel=COLOUR_KERNEL)
    _, out, _ = call(capsys, "models", "show", "v4", "--registry", str(registry))
    expected = (
        "item-item kernel: 1808 edges of 60 items, theta 0.50, beta 0.50 to 0.50 and "
        "alpha 1.98 to 1.60 for supports of 1 to 20, latest rows count 1.00, 0.90, 0.80"
    )
    assert expected in out.splitlines()
    _, out, _ = call(capsys, "models", "show", "v3", "--registry", str(registry))
    assert "item-item kernel: none, the vector alone is served" in out.splitlines()


def test_activate_and_roll_back(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A version becomes current, and the one before again."""
    _, out, _ = call(capsys, "models", "activate", "v3", "--registry", str(registry))
    assert out == "v3 is current (before: v2)\n"
    _, out, _ = call(capsys, "models", "rollback", "--registry", str(registry))
    assert out == "v2 is current again (before: v3)\n"


def test_a_broken_version_is_not_activated(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Activation verifies first; the pointer stays where it was."""
    path = registry / "v3" / "item_bias.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    for command in ("activate", "verify"):
        code, out, err = call(capsys, "models", command, "v3", "--registry", str(registry))
        assert (code, out) == (2, "")
        assert "item_bias.npy" in err
    _, out, _ = call(capsys, "models", "list", "--registry", str(registry))
    assert "v2  current" in out


def test_verify_says_what_was_checked(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sound version is said to be sound."""
    code, out, _ = call(capsys, "models", "verify", "--registry", str(registry))
    assert code == 0
    assert out.startswith("v2 is sound")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("show", "v9"), "'v9'"),
        (("activate", "v9"), "'v9'"),
        (("activate",), "VERSION"),
        (("destroy",), "destroy"),
    ],
)
def test_a_mistake_is_one_line(
    registry: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    """Unknown versions, missing arguments and unknown commands are named; exit code 2."""
    options = ("--registry", str(registry)) if arguments != ("destroy",) else ()
    code, _, err = call(capsys, "models", *arguments, *options)
    assert code == 2
    assert named.lower() in err.lower()
    assert len(err.splitlines()) == 1


def test_nothing_to_roll_back_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry with one version, or none, says so."""
    code, _, err = call(capsys, "models", "list", "--registry", str(tmp_path))
    assert (code, "recsvc-train fit" in err) == (2, True)
    publish_world(tmp_path, "v1")
    code, _, err = call(capsys, "models", "rollback", "--registry", str(tmp_path))
    assert (code, "no previous version" in err) == (2, True)
