"""Users and items both cold: what may be seen, folding users in, methods told apart."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.protocols.shops import OURS, write_shop
from training.datasets import Dataset, load
from training.errors import DataError
from training.items.embedding import Embedding
from training.items.user_fold_in import folded_users
from training.protocols.both_cold import (
    USER_SUPPORT,
    BothColdSplit,
    run_both_cold,
    split_both,
)
from training.protocols.cold_item import METHODS
from training.protocols.protocol import Request


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    directory = tmp_path_factory.mktemp("shops") / "wide"
    return load(write_shop(directory, items=160, per_user=60))


@pytest.fixture(scope="module")
def split(shop: Dataset) -> BothColdSplit:
    return split_both(shop, 0)


def test_cold_users_and_cold_items_are_in_no_training(split: BothColdSplit) -> None:
    """Neither the training part nor a fold holds a cold user or a cold item of the test."""
    test, support_US = split.test
    cold = set(test.supports.items_I.tolist())
    for part in (split.data, *(data for data, _ in split.data.folds)):
        assert not part.train.lengths_U[test.users_U].any()
        assert cold.isdisjoint(part.train.item_E.tolist())
    assert not np.isin(test.supports.users_IS, test.users_U).any()
    assert len(test.users_U) > 20
    assert set(support_US.ravel().tolist()) <= cold


def test_a_user_has_a_support_of_cold_items_and_asks_for_others(split: BothColdSplit) -> None:
    """Five cold items a user, which are no candidates; the query holds cold and warm items."""
    test, support_US = split.test
    assert support_US.shape[1] == USER_SUPPORT
    assert support_US.min() >= 0
    for row in range(len(test.users_U)):
        assert set(test.seen.items(row).tolist()) == set(support_US[row].tolist())
        assert set(test.query.items(row).tolist()).isdisjoint(support_US[row].tolist())
    asked_cold = test.cold_N[test.query.item_E]
    assert asked_cold.any()
    assert not asked_cold.all()


def test_folds_have_cold_users_of_their_own(split: BothColdSplit) -> None:
    """A fold's cold users are in its training as little as the test's are in the whole's."""
    for (data, _), (task, _) in zip(split.data.folds, split.fold_users, strict=True):
        assert not data.train.lengths_U[task.users_U].any()
        assert split.data.train.lengths_U[task.users_U].all()


def test_folding_in_solves_its_equation_and_starts_at_the_average() -> None:
    """No support: the mean warm user; else the least-squares solution."""
    rng = np.random.default_rng(0)
    users_UD = rng.normal(size=(6, 3)).astype(np.float32)
    items_ND = rng.normal(size=(8, 3)).astype(np.float32)
    embedding = Embedding(users_UD, items_ND, np.zeros(8, np.bool_))
    settings = {"strength": 0.5, "weight": 2.0}
    support_BS = np.array([[-1, -1], [3, 5]], dtype=np.int32)
    found = folded_users(embedding, support_BS, settings)
    assert found[0] == pytest.approx(users_UD.mean(axis=0), abs=1e-5)
    base = items_ND.T @ items_ND
    base += 0.5 * np.trace(base) / 3 * np.eye(3)
    rows = items_ND[[3, 5]]
    right = 3.0 * rows.sum(axis=0) + base @ users_UD.mean(axis=0)
    assert found[1] == pytest.approx(np.linalg.solve(base + 2.0 * rows.T @ rows, right), abs=1e-4)


def test_taste_is_carried_from_cold_items_to_the_list(shop: Dataset) -> None:
    """Who reads content knows a cold user's taste from cold items; popularity does not."""
    specs = [*(s for s in METHODS if s.name in ("support-popularity", "ridge")), OURS]
    found = run_both_cold(Request(shop, (0,), resamples=200), specs)
    plain = found.row("support-popularity", "all", "ndcg@10")
    for name in ("ridge", "ours"):
        reader = found.row(name, "all", "ndcg@10")
        assert [c.n for c in reader] == [0, 1, 3, 5, 10]
        assert all(a.mean > b.mean + 0.1 for a, b in zip(reader, plain, strict=True))
    assert found.settings == {"user_support": USER_SUPPORT}


def test_too_few_cold_items_are_refused(tmp_path: Path) -> None:
    """Users with fewer than six positives among the cold items cannot be measured."""
    small = load(write_shop(tmp_path / "small", per_user=8))
    with pytest.raises(DataError, match="no cold user has 5 positive interactions"):
        split_both(small, 0)
