"""The cold-item protocol: leakage, an oracle, chance, our method against baselines, the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.protocols.shops import OURS, write_shop
from training.cli import run
from training.datasets import Dataset, load
from training.errors import DataError, SettingError
from training.evaluate import Evaluation
from training.items.embedding import Embedding
from training.items.events import Events
from training.items.task import ColdItemData, ItemMethod, ItemSupports, measure
from training.protocols.cold_item import METHODS, parse_split, run_cold_item, run_method
from training.protocols.cold_item_split import ColdItemSplit, split_cold_items
from training.protocols.protocol import Request
from training.protocols.registry import MethodSpec


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(write_shop(tmp_path_factory.mktemp("shops") / "shop"))


@pytest.fixture(scope="module")
def split(shop: Dataset) -> ColdItemSplit:
    return split_cold_items(shop, 0, "random")


class Fixed:
    """Scores that are given."""

    name = "fixed"

    def __init__(self, scores_UN: NDArray[np.float32]) -> None:
        self.scores_UN = scores_UN
        self.data: ColdItemData | None = None
        self.supports: list[ItemSupports] = []

    def fit(self, data: ColdItemData) -> None:
        self.data = data

    def embed(self, supports: ItemSupports, n: int) -> Embedding:
        self.supports.append(supports)
        items_NN = np.eye(self.scores_UN.shape[1], dtype=np.float32)
        return Embedding(self.scores_UN, items_NN, np.zeros(len(items_NN), np.bool_))

    def embed_fold(self, fold: int, supports: ItemSupports, n: int) -> Embedding:
        return self.embed(supports, n)

    def validation(self, n: int) -> float:
        return 0.5

    def settings(self) -> dict[str, Any]:
        return {}


def pairs_of(users: NDArray[Any], items: NDArray[Any]) -> set[tuple[int, int]]:
    return set(zip(users.tolist(), items.tolist(), strict=True))


def test_nothing_of_a_cold_item_is_in_training(split: ColdItemSplit) -> None:
    """No cold item in training, nor in any fold; held-out warm pairs are in neither."""
    cold = set(split.test.supports.items_I.tolist())
    assert len(cold) == 16
    assert cold.isdisjoint(split.data.train.item_E.tolist())
    assert cold.isdisjoint(split.data.warm.items_I.tolist())
    held_out = pairs_of(split.test.users_U[split.test.query.user_E], split.test.query.item_E)
    assert held_out.isdisjoint(pairs_of(split.data.train.user_E, split.data.train.item_E))
    for fold, task in split.data.folds:
        assert cold.isdisjoint(fold.train.item_E.tolist())
        assert cold.isdisjoint(task.supports.items_I.tolist())
        assert cold.isdisjoint(task.query.item_E.tolist())
        inside = pairs_of(fold.train.user_E, fold.train.item_E)
        assert inside < pairs_of(split.data.train.user_E, split.data.train.item_E)


def test_folds_have_different_cold_items(split: ColdItemSplit) -> None:
    """Every fold is an episode of its own."""
    groups = [set(task.supports.items_I.tolist()) for _, task in split.data.folds]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_supports_are_the_first_interactions_and_no_query(
    shop: Dataset, split: ColdItemSplit
) -> None:
    """The first ten users in time, then the query; both together are all of the item's users."""
    rows = shop.interactions
    assert rows.timestamp_E is not None
    test = split.test
    for supports, item in zip(test.supports.users_IS, test.supports.items_I, strict=True):
        of_item = rows.item_E == item
        order = np.argsort(rows.timestamp_E[of_item], kind="stable")
        users = rows.user_E[of_item][order].tolist()
        known = [u for u in supports.tolist() if u >= 0]
        assert known == users[:10]
        asked = test.users_U[test.query.user_E[test.query.item_E == item]].tolist()
        assert sorted(asked) == sorted(users[10:])


def test_seen_pairs_are_no_candidates(split: ColdItemSplit) -> None:
    """Support users of a cold item are not asked about it, at any size."""
    test = split.test
    seen = pairs_of(test.users_U[test.seen.user_E], test.seen.item_E)
    for users, item in zip(test.supports.users_IS, test.supports.items_I, strict=True):
        for user in users[users >= 0]:
            if user in test.users_U:
                assert (int(user), int(item)) in seen
    assert seen.isdisjoint(pairs_of(test.users_U[test.query.user_E], test.query.item_E))


def test_split_by_time_holds_out_the_latest(shop: Dataset) -> None:
    """Every cold item appeared after every warm one; the folds go back in time."""
    split = split_cold_items(shop, 0, "time")
    rows = shop.interactions
    assert rows.timestamp_E is not None
    first_N = np.full(shop.n_items, np.iinfo(np.int64).max)
    np.minimum.at(first_N, rows.item_E, rows.timestamp_E)
    cold = split.test.supports.items_I
    warm = np.setdiff1d(np.unique(rows.item_E), cold)
    assert first_N[cold].min() >= first_N[warm].max()
    groups = [task.supports.items_I for _, task in split.data.folds]
    assert np.median(first_N[groups[0]]) > np.median(first_N[groups[1]])


def test_traffic_counts_visits_up_to_each_interaction(split: ColdItemSplit) -> None:
    """Exposure grows with each row and ends within the data's visits."""
    traffic = split.test.supports.traffic_IS
    assert traffic is not None
    assert (np.diff(traffic, axis=1) >= 0).all()
    assert 0 < traffic.max() <= split.data.visits
    users = len(np.unique(split.data.train.user_E))
    assert users <= split.data.visits <= 2 * users


def test_a_rank_within_an_item_counts_its_events() -> None:
    """0, 1, 2 for the events of one item, whatever lies between them."""
    events = Events(np.arange(5), np.array([1, 0, 1, 1, 0]), None, 5, 2)
    assert events.rank_in_item().tolist() == [0, 0, 1, 2, 1]


def test_an_oracle_is_perfect_and_noise_is_at_chance(split: ColdItemSplit) -> None:
    """Knowing the query gives 1 over all items and over cold ones; random scores give little."""
    test = split.test
    truth = np.zeros((160, 80), dtype=np.float32)
    truth[test.users_U[test.query.user_E], test.query.item_E] = 1.0
    oracle = measure("oracle", Fixed(truth).embed(test.supports, 0).rank, test, 0)
    assert oracle[[0, 2], :, 0].min() == pytest.approx(1.0)
    noise = np.random.default_rng(0).random((160, 80), dtype=np.float32)
    random = measure("random", Fixed(noise).embed(test.supports, 0).rank, test, 0)
    assert random[0, :, 0].mean() < 0.25


def test_inflating_cold_items_costs(split: ColdItemSplit) -> None:
    """Cold items above all warm ones is no way to win the view over all items."""
    test = split.test
    truth = np.zeros((160, 80), dtype=np.float32)
    truth[test.users_U[test.query.user_E], test.query.item_E] = 1.0
    truth[:, test.cold_N] += 2.0
    inflated = measure("inflated", Fixed(truth).embed(test.supports, 0).rank, test, 0)
    assert inflated[2, :, 0].mean() == pytest.approx(1.0)
    assert inflated[0, :, 0].mean() < 0.9


def test_a_method_gets_n_rows_at_size_n(split: ColdItemSplit) -> None:
    """Nothing beyond the first n interactions reaches the method."""
    method = Fixed(np.zeros((160, 80), np.float32))
    run_method(MethodSpec[ItemMethod]("fixed", lambda: method, is_baseline=False), split)
    assert [s.users_IS.shape[1] for s in method.supports] == [0, 1, 3, 5, 10]
    assert method.data is split.data


def run_all(shop: Dataset, names: tuple[str, ...], **options: str) -> Evaluation:
    product = [spec for spec in METHODS if spec.name in names and spec.name != "ours"]
    specs = [*product, *([OURS] if "ours" in names else [])]
    return run_cold_item(Request(shop, (0,), options=options, resamples=200), specs)


def test_content_and_support_find_the_taste(shop: Dataset) -> None:
    """Whoever reads content knows each cold item's taste, at every size; popularity does not."""
    found = run_all(shop, ("support-popularity", "ridge+exp", "posterior-als", "ours"))
    knows_nothing = found.row("support-popularity", "cold", "ndcg@10")
    for name in ("ridge+exp", "posterior-als", "ours"):
        cells = found.row(name, "cold", "ndcg@10")
        assert [c.n for c in cells] == [0, 1, 3, 5, 10]
        for cell, other in zip(cells, knows_nothing, strict=True):
            assert cell.mean > other.mean + 0.05
    assert found.settings == {"split": "random"}


def test_permuted_items_leave_everyone_at_chance(tmp_path: Path) -> None:
    """Where taste is not in the data, nobody beats popularity by more than luck."""
    shop = load(write_shop(tmp_path / "noise", 3, permuted=True))
    found = run_all(shop, ("support-popularity", "ours"))
    ours = np.mean([c.mean for c in found.row("ours", "cold", "ndcg@10")])
    plain = np.mean([c.mean for c in found.row("support-popularity", "cold", "ndcg@10")])
    assert ours < plain + 0.06


def test_without_time_all_is_ordinary_but_the_split_by_time(tmp_path: Path) -> None:
    """Exposure is unknown, the methods run; a split by time is refused with the remedy."""
    shop = load(write_shop(tmp_path / "timeless", timed=False))
    found = run_all(shop, ("ours",))
    assert len(found.row("ours", "all", "ndcg@10")) == 5
    with pytest.raises(DataError, match="--split random"):
        split_cold_items(shop, 0, "time")


def test_a_wrong_split_is_refused() -> None:
    """The message names the value and what is allowed."""
    with pytest.raises(SettingError, match="'late'; it must be random or time"):
        parse_split("late")


def test_the_command_prints_json_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON document; a second call finds the finished runs and prints the same figures."""
    shop = write_shop(tmp_path / "shop")
    arguments = ["evaluate", "--data", str(shop), "--protocol", "cold-item", "--seeds", "1"]
    arguments += ["--methods", "support-popularity", "--work", str(tmp_path / "work"), "--json"]
    assert run([*arguments, "--split", "time"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"] == {"split": "time"}
    assert document["views"] == ["all", "cold-hits", "cold"]
    kept = list((tmp_path / "work").iterdir())
    assert len(kept) == 1
    assert run([*arguments, "--split", "time"]) == 0
    assert json.loads(capsys.readouterr().out) == document
    assert list((tmp_path / "work").iterdir()) == kept
