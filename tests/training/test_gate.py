"""The gate: a version passes against itself, and a worse one is refused with its figures."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recsvc.contract.manifest import hash_file, read_manifest, write_manifest
from recsvc.contract.registry import Registry
from training.datasets import Dataset, load
from training.datasets.synth import SynthSpec, write_synth
from training.errors import SettingError
from training.fit import fit
from training.gate import GateConfig, Verdict, gate_window, judge, usable_users
from training.outer_loop import TrainConfig
from training.tasks import Histories, automatic_window, from_pairs, positives

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A small data set, a version fitted on part of it, and the users it never saw."""

    def __init__(self, place: Path) -> None:
        write_synth(SynthSpec(users=300, items=60, interactions=7200), 0, place / "data")
        self.dataset: Dataset = load(place / "data")
        self.histories: Histories = positives(self.dataset)
        usable = usable_users(self.histories, automatic_window(self.histories.lengths_U))
        self.held_out = usable[:: len(usable) // 60][:60]
        self.registry = Registry(place / "registry")
        config = TrainConfig(dims=8, max_epochs=6, device="cpu")
        fitted = fit(self.dataset, self.registry, config, NOW, kernel=None, held_out=self.held_out)
        self.good = self.registry.open(fitted.manifest.version)
        self.candidates_N = fitted.data.candidates_N

    def judge(self, candidate: Path, current: Path, config: GateConfig | None = None) -> Verdict:
        """The verdict on a pair of versions."""
        return judge(
            candidate, current, self.dataset, self.histories, self.held_out, self.candidates_N,
            config or GateConfig(), 0,
        )  # fmt: skip

    def spoiled(self, place: Path) -> Path:
        """The version with its popularity upside down, sealed as if it were right."""
        place.mkdir()
        for path in self.good.iterdir():
            (place / path.name).write_bytes(path.read_bytes())
        np.save(place / "item_bias.npy", -np.load(place / "item_bias.npy"))
        manifest = read_manifest(place)
        files = manifest.files | {"item_bias.npy": hash_file(place / "item_bias.npy")}
        write_manifest(place, manifest.model_copy(update={"files": files}))
        return place


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("gate"))


def test_a_version_is_not_worse_than_itself(world: World) -> None:
    """The difference is exactly zero, and it passes."""
    verdict = world.judge(world.good, world.good)
    assert verdict.promote
    assert (verdict.difference, verdict.low, verdict.high) == (0.0, 0.0, 0.0)
    assert verdict.users == len(world.held_out)


def test_a_spoiled_candidate_is_refused_and_a_better_one_passes(
    world: World, tmp_path: Path
) -> None:
    """Popularity upside down loses with the whole interval below zero; the reverse wins."""
    spoiled = world.spoiled(tmp_path / "spoiled")
    refused = world.judge(spoiled, world.good)
    assert not refused.promote
    assert refused.high is not None
    assert refused.high < 0
    assert "worse than the current version" in refused.reason
    passed = world.judge(world.good, spoiled)
    assert passed.promote
    assert passed.low is not None
    assert passed.low > 0
    assert passed.difference == -(refused.difference or 0.0)


def test_too_few_users_decide_nothing(world: World) -> None:
    """Below the least number of users there is no verdict for the candidate."""
    verdict = world.judge(world.good, world.good, GateConfig(min_users=1000))
    assert not verdict.promote
    assert "at least 1000 are needed" in verdict.reason
    assert verdict.difference is None
    json.dumps(verdict.document(), allow_nan=False)


def test_the_window_is_that_of_the_bundles(world: World) -> None:
    """Supports larger than either version was trained for are not measured; nor are those larger
    than most held-out users fill."""
    manifest = read_manifest(world.good)
    assert world.judge(world.good, world.good).window == manifest.adaptation.window == 20
    wide, middle, narrow = (
        manifest.model_copy(
            update={"adaptation": manifest.adaptation.model_copy(update={"window": window})}
        )
        for window in (20, 3, 2)
    )
    shorter = from_pairs(np.repeat(np.arange(4), 10), np.tile(np.arange(10), 4), 4, 60)
    longer = from_pairs(np.repeat(np.arange(4), 30), np.tile(np.arange(30), 4), 4, 60)
    assert [gate_window(users, wide, wide) for users in (shorter, longer)] == [3, 20]
    assert gate_window(longer, wide, middle) == 3
    assert gate_window(longer, narrow, wide) == 2


def test_settings_are_checked() -> None:
    """A negative margin is named."""
    with pytest.raises(SettingError, match="margin is -1"):
        GateConfig(margin=-1)
