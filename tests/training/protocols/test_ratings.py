"""The ratings protocol: its split, its refusals, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.ratings.worlds import rating_world, write_ratings
from training.cli import run
from training.datasets import Dataset
from training.errors import DataError
from training.protocols.protocol import Request
from training.protocols.rating_split import (
    PROTOCOLS,
    SCENARIOS,
    RatingSplits,
    rating_table,
    split_ratings,
)
from training.protocols.ratings import PREDICTORS, run_ratings
from training.protocols.registry import find_methods


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return rating_world(tmp_path_factory.mktemp("ratings") / "world")


@pytest.fixture(scope="module", params=PROTOCOLS)
def splits(request: pytest.FixtureRequest, world: Dataset) -> RatingSplits:
    return split_ratings(world, 0, request.param)


def test_cold_users_and_items_are_in_no_training_row(splits: RatingSplits) -> None:
    """Held out means held out, in the reported split and in the one for settings."""
    for split in (splits.test, splits.tuning):
        table, scenarios = split.data.ratings, split.scenarios
        for name in ("user-cold", "both"):
            assert not np.isin(scenarios[name].tasks.user_B, table.user_E).any()
        for name in ("item-cold", "both"):
            tasks = scenarios[name].tasks
            assert not np.isin(tasks.query_item_BQ, table.item_E).any()
            assert not np.isin(tasks.support_item_BS[tasks.given_BS], table.item_E).any()


def test_a_warm_query_is_out_of_training_and_its_support_is_in(splits: RatingSplits) -> None:
    """No rating that is asked about is learned from."""
    table = splits.test.data.ratings
    pairs = set(zip(table.user_E.tolist(), table.item_E.tolist(), strict=True))
    tasks = splits.test.scenarios["warm"].tasks
    for row, user in enumerate(tasks.user_B.tolist()):
        assert not any((user, i) in pairs for i in tasks.query_item_BQ[row].tolist())
        support = tasks.support_item_BS[row][tasks.given_BS[row]]
        assert all((user, i) in pairs for i in support.tolist())


def test_settings_are_chosen_inside_the_training_data(splits: RatingSplits) -> None:
    """The second split sees no rating but training ratings of the first."""
    table = splits.test.data.ratings
    known = set(zip(table.user_E.tolist(), table.item_E.tolist(), strict=True))
    inner = splits.tuning.data.ratings
    assert set(zip(inner.user_E.tolist(), inner.item_E.tolist(), strict=True)) < known
    for held in splits.tuning.scenarios.values():
        for row, user in enumerate(held.tasks.user_B.tolist()):
            assert all((user, i) in known for i in held.tasks.query_item_BQ[row].tolist())


def test_the_newest_items_are_cold(world: Dataset) -> None:
    """By the year in the title, the newest fifth, in both splits."""
    splits = split_ratings(world, 0, "ratings-new-items")
    year_N = np.array([1950 + int(item[1:]) // 2 for item in world.item_ids])
    for split in (splits.test, splits.tuning):
        cold = np.unique(split.scenarios["item-cold"].tasks.query_item_BQ)
        assert year_N[cold].min() >= year_N[split.data.counts_N > 0].max()


def test_a_seed_decides_the_split(world: Dataset) -> None:
    """The same seed gives the same tasks, another one others."""
    first, again, other = (split_ratings(world, seed) for seed in (0, 0, 1))
    both = first.test.scenarios["both"].tasks
    assert np.array_equal(both.query_item_BQ, again.test.scenarios["both"].tasks.query_item_BQ)
    assert not np.array_equal(both.user_B, other.test.scenarios["both"].tasks.user_B)


def test_the_last_rating_of_an_item_counts(world: Dataset) -> None:
    """Rated twice, an item is in the table once, as it was rated last."""
    rows = world.interactions
    assert rows.value_E is not None
    twice = replace(
        rows,
        user_E=np.array([0, 0, 1], np.int32),
        item_E=np.array([4, 4, 4], np.int32),
        value_E=np.array([2, 5, 3], np.float32),
    )
    table = rating_table(replace(world, interactions=twice))
    assert table.rating_E.tolist() == [5.0, 3.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "no value column, so there is no rating to predict"),
        (np.arange(100.0), "not ratings: 100 distinct values from 0 to 99"),
        (np.ones(100), "not ratings: 1 distinct values from 1 to 1"),
    ],
)
def test_data_without_ratings_is_refused(
    world: Dataset, values: np.ndarray | None, message: str
) -> None:
    """No values, amounts and a single level are no ratings; the remedy is named."""
    rows, few = world.interactions, slice(100)
    value_E = None if values is None else values.astype(np.float32)
    changed = replace(rows, user_E=rows.user_E[few], item_E=rows.item_E[few], value_E=value_E)
    with pytest.raises(DataError, match=message):
        rating_table(replace(world, interactions=changed))


def test_the_newest_items_need_a_year(world: Dataset) -> None:
    """Without a year or a date nobody knows which items are new."""
    assert world.items is not None
    ageless = replace(world, items=world.items.drop("title"))
    with pytest.raises(DataError, match="the newest items are unknown; take --protocol ratings"):
        split_ratings(ageless, 0, "ratings-new-items")


def test_too_few_ratings_are_refused(world: Dataset) -> None:
    """A scenario without a task is named."""
    rows, few = world.interactions, slice(300)
    assert rows.value_E is not None
    changed = replace(
        rows, user_E=rows.user_E[few], item_E=rows.item_E[few], value_E=rows.value_E[few]
    )
    with pytest.raises(DataError, match="user has 13 to 100 ratings in the scenario"):
        split_ratings(replace(world, interactions=changed), 0)


def test_every_scenario_is_measured_and_a_second_run_is_found(
    world: Dataset, tmp_path: Path
) -> None:
    """Every metric of every scenario; kept runs give the same figures."""
    methods = find_methods(["global-mean", "bias"], PREDICTORS)
    request = Request(world, [0, 1], work=tmp_path, resamples=50)
    first = run_ratings(request, methods, "ratings")
    again = run_ratings(request, methods, "ratings")
    assert first.to_json() == again.to_json()
    assert {cell.view for cell in first.cells} == set(SCENARIOS)
    levels = {c.view: c.mean for c in first.cells if (c.method, c.metric) == ("bias", "mae")}
    mean = {c.view: c.mean for c in first.cells if (c.method, c.metric) == ("global-mean", "mae")}
    assert all(levels[view] < mean[view] for view in SCENARIOS)


def test_the_command_prints_tables_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One table a scenario with all metrics as columns; or one JSON document."""
    data = str(write_ratings(tmp_path / "world", 0))
    command = ["evaluate", "--data", data, "--protocol", "ratings", "--seeds", "1"]
    command += ["--methods", "global-mean,bias", "--work", str(tmp_path / "work")]
    assert run(command) == 0
    printed = capsys.readouterr().out
    for scenario in SCENARIOS:
        assert f"\n{scenario} " in printed
    assert "RMSE-median" in printed
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["views"] == list(SCENARIOS)
