"""What killed runs leave in a registry does not stay for ever."""

import os
import time
from pathlib import Path

import pytest

from recsvc.contract.registry import Registry
from training.checkpoint import ABANDONED_AFTER_S, checkpoint_directory, remove_abandoned

LEFT = (".checkpoint-0123.pt", "..checkpoint-0123.pt.77", ".staging-abc/half.npy")
KEPT = ("CURRENT", "20260101T000000.000000Z/manifest.json", ".replace-x", "checkpoint.pt")


def write(root: Path, names: tuple[str, ...], age_s: float) -> None:
    """Files of this age, and so their directories."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        for aged in (path, *path.relative_to(root).parents[:-1]):
            os.utime(root / aged, (time.time() - age_s,) * 2)


def found(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def test_what_was_left_long_ago_is_removed(tmp_path: Path) -> None:
    """Checkpoints and half-built versions, and nothing else, whatever its age."""
    write(tmp_path, LEFT + KEPT, ABANDONED_AFTER_S + 60)
    removed = remove_abandoned(Registry(tmp_path))
    assert {p.name for p in removed} == {n.partition("/")[0] for n in LEFT}
    assert found(tmp_path) == set(KEPT)
    assert remove_abandoned(Registry(tmp_path)) == []


def test_what_may_still_be_resumed_stays(tmp_path: Path) -> None:
    """A run that was killed yesterday goes on where it was."""
    write(tmp_path, LEFT, ABANDONED_AFTER_S - 3600)
    assert remove_abandoned(Registry(tmp_path)) == []
    assert found(tmp_path) == set(LEFT)


def test_an_object_stores_runs_keep_theirs_in_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found there; a registry that is not made yet holds none."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    registry = Registry("memory://models")
    assert checkpoint_directory(registry) == tmp_path
    write(tmp_path, (".checkpoint-9.pt", "recsvc-staging-a/x"), ABANDONED_AFTER_S + 60)
    assert len(remove_abandoned(registry)) == 2
    assert remove_abandoned(Registry(tmp_path / "none")) == []
