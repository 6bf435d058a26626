"""Finished runs on disk: an interrupted evaluation goes on, and nothing stale is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training
from training.baselines.popularity import LatePopularity, Popularity
from training.datasets import Dataset
from training.evaluate import Evaluation
from training.methods import Method
from training.protocols.cold_user import run_cold_user
from training.protocols.protocol import Request
from training.protocols.registry import MethodSpec
from training.protocols.run_store import RunStore, _reached, code_hash

COLD_USER = ["protocols/cold_user.py"]


class Counted:
    """Method specs that count how often they are made, and may be interrupted."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.interrupt_at: str | None = None

    def specs(self, variant: str = "") -> list[MethodSpec[Method]]:
        def maker(name: str, make: Callable[[], Method]) -> MethodSpec[Method]:
            def made() -> Method:
                if name == self.interrupt_at:
                    raise KeyboardInterrupt
                self.made.append(name)
                return make()

            return MethodSpec(name, made, is_baseline=True, variant=variant)

        return [maker("popular", Popularity), maker("late", LatePopularity)]


@pytest.fixture
def counted() -> Counted:
    return Counted()


def run(dataset: Dataset, specs: list[MethodSpec[Method]], work: Path, **more: Any) -> Evaluation:
    seeds = more.pop("seeds", [0])
    return run_cold_user(Request(dataset, seeds, options=more, work=work, resamples=50), specs)


def test_finished_runs_are_not_repeated(tastes: Dataset, counted: Counted, tmp_path: Path) -> None:
    """A second call makes no method and finds the same figures."""
    first = run(tastes, counted.specs(), tmp_path)
    second = run(tastes, counted.specs(), tmp_path)
    assert counted.made == ["popular", "late"]
    assert first.cells == second.cells


def test_an_interrupted_evaluation_keeps_what_is_done(
    tastes: Dataset, counted: Counted, tmp_path: Path
) -> None:
    """After Ctrl-C in the second method the first one is not run again."""
    counted.interrupt_at = "late"
    with pytest.raises(KeyboardInterrupt):
        run(tastes, counted.specs(), tmp_path)
    counted.interrupt_at = None
    run(tastes, counted.specs(), tmp_path)
    assert counted.made == ["popular", "late"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_new_seed_runs_alone(tastes: Dataset, counted: Counted, tmp_path: Path) -> None:
    """Adding a seed runs that seed only."""
    run(tastes, counted.specs()[:1], tmp_path, seeds=[0])
    run(tastes, counted.specs()[:1], tmp_path, seeds=[0, 1])
    assert counted.made == ["popular", "popular"]


@pytest.mark.parametrize("change", ["data", "window", "variant"])
def test_other_conditions_are_other_runs(
    tastes: Dataset, noise: Dataset, counted: Counted, tmp_path: Path, change: str
) -> None:
    """Other data, another window or another variant of a method never reuse a run."""
    run(tastes, counted.specs()[:1], tmp_path, window="3")
    run(
        noise if change == "data" else tastes,
        counted.specs("other" if change == "variant" else "")[:1],
        tmp_path,
        window="2" if change == "window" else "3",
    )
    assert counted.made == ["popular", "popular"]


@pytest.mark.parametrize("damage", [b"", b"not a run", None])
def test_a_damaged_run_is_run_again(
    tastes: Dataset, counted: Counted, tmp_path: Path, damage: bytes | None
) -> None:
    """An empty, foreign or cut-off file counts as no run."""
    first = run(tastes, counted.specs()[:1], tmp_path)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    second = run(tastes, counted.specs()[:1], tmp_path)
    assert counted.made == ["popular", "popular"]
    assert first.cells == second.cells


def test_a_stored_run_comes_back_whole(tmp_path: Path, tastes: Dataset, counted: Counted) -> None:
    """Figures, settings and seconds survive the disk; an unknown key finds nothing."""
    found = run(tastes, counted.specs()[:1], tmp_path / "deep" / "work")
    store = RunStore(tmp_path / "deep" / "work")
    assert store.load({"method": "popular", "seed": 7}) is None
    again = run(tastes, counted.specs()[:1], tmp_path / "deep" / "work")
    assert found.runs == again.runs


def test_code_of_baselines_is_part_of_all_code() -> None:
    """A baseline's runs outlive a change of the model, so the two hashes differ."""
    assert code_hash(True, COLD_USER) != code_hash(False, COLD_USER)
    assert code_hash(True, COLD_USER) == code_hash(True, COLD_USER)


def test_only_the_protocols_own_code_counts() -> None:
    """A change in one protocol leaves the finished runs of the others as they are."""
    own, other = (code_hash(True, [f"protocols/{name}.py"]) for name in ("cold_user", "table"))
    assert len({own, other, code_hash(True, [])}) == 3


def test_code_is_found_through_imports() -> None:
    """What a protocol can reach counts for our models, also inside of functions; nothing else."""
    reached = _reached(Path(training.__file__).parent, COLD_USER)
    assert {"inner_loop.py", "outer_loop.py", "tasks.py", "kernel/method.py"} <= reached
    assert {"datasets/__init__.py", "datasets/load.py", "protocols/registry.py"} <= reached
    assert not reached & {"retrain.py", "cli.py", "protocols/table.py", "protocols/ratings.py"}


def test_nothing_in_a_stored_run_is_unpickled(
    tastes: Dataset, counted: Counted, tmp_path: Path
) -> None:
    """The file loads with pickling forbidden, and a pickled one counts as no run."""
    run(tastes, counted.specs()[:1], tmp_path)
    (path,) = tmp_path.glob("*.npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays) == {"figures_nVUM", "validation_n", "facts"}
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(path, figures_nVUM=objects, validation_n=objects, facts=objects)
    run(tastes, counted.specs()[:1], tmp_path)
    assert counted.made == ["popular", "popular"]
