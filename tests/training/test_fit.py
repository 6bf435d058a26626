"""Fit: a data set becomes a version that the service opens; a failure changes nothing."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recsvc.bundle import load_bundle
from recsvc.contract.registry import Registry
from training.cli import run
from training.datasets import Dataset, load
from training.datasets.synth import SynthSpec, write_synth
from training.fit import Fitted, fit, prepare
from training.kernel.train import KernelConfig
from training.outer_loop import TrainConfig

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SMALL = TrainConfig(dims=8, max_epochs=2, device="cpu")
EPOCHS = 20
"""Enough for a kill in the middle."""
FLAGS = ["--dims", "8", "--kernel-epochs", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world with ratings, user and item features, and items nobody has touched."""
    path = tmp_path_factory.mktemp("synth") / "data"
    write_synth(SynthSpec(users=300, items=120, interactions=9000, ratings=True), 0, path)
    return path


@pytest.fixture(scope="module")
def dataset(directory: Path) -> Dataset:
    return load(directory)


@pytest.fixture(scope="module")
def fitted(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Path]:
    registry = tmp_path_factory.mktemp("registry")
    result = fit(dataset, Registry(registry), SMALL, NOW, kernel=KernelConfig(max_epochs=2))
    Registry(registry).promote(result.manifest.version, NOW)
    return result, registry


def test_the_service_opens_what_fit_wrote(fitted: tuple[Fitted, Path], dataset: Dataset) -> None:
    """Every hash, shape and golden row passes, and every item of the data set is there."""
    result, registry = fitted
    bundle = load_bundle(Registry(registry).open(result.manifest.version))
    assert sorted(bundle.item_ids) == sorted(dataset.item_ids)
    assert bundle.manifest.dataset.name == dataset.name
    assert set(bundle.attributes) == set(dataset.items.columns if dataset.items is not None else [])


def test_a_further_version_does_not_become_current(
    directory: Path,
    fitted: tuple[Fitted, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where CURRENT is, another version waits for someone to activate it."""
    first = fitted[0].manifest.version
    registry = shutil.copytree(fitted[1], tmp_path / "registry")
    command = ["fit", "--data", str(directory), "--registry", str(registry), "--max-epochs", "1"]
    assert run([*command, *FLAGS, "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["current"] == first
    assert Registry(registry).versions() == [first, second["version"]]


def test_a_version_carries_a_page_about_itself(fitted: tuple[Fitted, Path]) -> None:
    """report.html shows the version beside popularity, and is sealed like every other file."""
    result, registry = fitted
    page = Registry(registry).open(result.manifest.version) / "report.html"
    assert "report.html" in result.manifest.files
    text = page.read_text(encoding="utf-8")
    assert "this version" in text
    assert "late-popularity" in text
    assert "<script src" not in text


def test_nothing_but_versions_and_current_stays_behind(fitted: tuple[Fitted, Path]) -> None:
    """No checkpoint and no staging directory remains."""
    _, registry = fitted
    assert [p.name for p in registry.iterdir() if p.name.startswith(".")] == []


def test_items_adapt_in_the_bundle(fitted: tuple[Fitted, Path]) -> None:
    """The graph, its sample users and its golden rows are sealed, and the decision is named."""
    manifest = fitted[0].manifest
    spec = manifest.item_adaptation
    assert spec is not None
    assert "adapt_item" in manifest.graphs
    assert "exposure_weight" in manifest.lineage.decisions["item_adaptation"]
    directory = Registry(fitted[1]).open(manifest.version)
    states_MD = np.load(directory / "sample_states.npy")
    assert states_MD.shape == (spec.sample_users, manifest.adaptation.dims)
    assert np.load(directory / "sample_offset.npy").shape == (spec.sample_users,)
    assert {"sample_states.npy", "sample_offset.npy"} <= set(manifest.files)
    golden = np.load(directory / "golden.npz")
    assert golden["item_adapt_vectors_HD"].shape == golden["item_adapt_prior_vectors_HD"].shape


def test_a_user_without_features_starts_where_the_average_user_starts(
    fitted: tuple[Fitted, Path], dataset: Dataset
) -> None:
    """The exported prior of a user who says nothing is the mean prior of the training users."""
    result, registry = fitted
    bundle = load_bundle(Registry(registry).open(result.manifest.version))
    schema = result.manifest.dataset.user_features
    everyone = bundle.graphs.user_prior(prepare(dataset, seed=0).data.train_features.toarray())
    nobody = bundle.graphs.user_prior(schema.encode([{}]))[0]
    assert np.abs(everyone).max() > 0
    np.testing.assert_allclose(nobody, everyone.mean(axis=0), rtol=0, atol=1e-5)


def test_validation_users_are_not_trained_on(dataset: Dataset) -> None:
    """The two sides of the split hold different users, all of them together."""
    prepared = prepare(dataset, seed=0)
    total = len(prepared.data.train.item_E) + len(prepared.data.validation.item_E)
    assert total == len(prepared.histories.item_E)
    assert prepared.data.validation.n_users > 0


def test_one_user_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A data set of one user ends with exit code 2 and leaves no registry."""
    lines = ["user_id,item_id", *(f"anna,{i}" for i in range(30))]
    (tmp_path / "interactions.csv").write_text("\n".join(lines))
    code = run(["fit", "--data", str(tmp_path), "--registry", str(tmp_path / "r"), *FLAGS])
    assert code == 2
    assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_users_with_one_interaction_each_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no support and query to learn from, and the message says so."""
    lines = ["user_id,item_id", *(f"u{i},{i % 7}" for i in range(40))]
    (tmp_path / "interactions.csv").write_text("\n".join(lines))
    code = run(["fit", "--data", str(tmp_path), "--registry", str(tmp_path / "r"), *FLAGS])
    assert code == 2
    assert "two positive interactions" in capsys.readouterr().err


def test_a_wrong_setting_is_named(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dims 0 is refused before anything is read or written."""
    code = run(["fit", "--data", str(directory), "--registry", "unused", "--dims", "0"])
    assert code == 2
    assert "dims is 0" in capsys.readouterr().err


def test_a_registry_that_is_a_file_is_refused(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the registry."""
    (tmp_path / "taken").write_text("")
    registry = str(tmp_path / "taken")
    assert run(["fit", "--data", str(directory), "--registry", registry, *FLAGS]) == 1
    assert registry in capsys.readouterr().err.splitlines()[-1]


def fit_process(
    directory: Path, registry: Path, epochs: int, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from training.cli import main; main()", "fit"]
    command += ["--data", str(directory), "--registry", str(registry)]
    command += ["--max-epochs", str(epochs), *FLAGS]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=before)


def test_a_full_disk_during_export_leaves_the_registry_as_it_was(
    directory: Path, fitted: tuple[Fitted, Path], tmp_path: Path
) -> None:
    """Writes that fail half-way end in one clear line; no version, no leftovers, same CURRENT."""
    before = fitted[0].manifest.version
    registry = shutil.copytree(fitted[1], tmp_path / "registry")
    files = sorted(p.name for p in registry.iterdir())

    def limit_file_size() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = fit_process(directory, registry, 1, limit_file_size)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "free disk space" in stderr.splitlines()[-1]
    assert sorted(p.name for p in registry.iterdir()) == files
    current = Registry(registry).current()
    assert current is not None
    assert current.version == before


def test_a_killed_run_resumes(directory: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of training; the same command goes on, finishes the version, and makes
    it CURRENT where none was."""
    process = fit_process(directory, tmp_path, EPOCHS)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".checkpoint-*.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert Registry(tmp_path).versions() == []
    again = fit_process(directory, tmp_path, EPOCHS)
    _, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    (version,) = Registry(tmp_path).versions()
    current = Registry(tmp_path).current()
    assert current is not None
    assert current.version == version
    assert list(tmp_path.glob(".*")) == []
