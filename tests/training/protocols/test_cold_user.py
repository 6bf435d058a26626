"""The cold-user protocol: nothing leaks, an oracle is perfect, noise stays noise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.baselines.blend import Blended
from training.baselines.mult_vae import MultVAE
from training.datasets import Dataset
from training.errors import DataError, SettingError
from training.evaluate import BEST_ON_TEST, BEST_ON_VALIDATION
from training.kernel.method import ItemKernelMethod
from training.kernel.train import KernelConfig
from training.meta_learned import MetaLearned
from training.methods import ColdUserData, Method, ScoreError, relevant_items
from training.outer_loop import TrainConfig
from training.protocols.cold_user import (
    ColdUserSplit,
    build_split,
    run_cold_user,
    run_method,
    split_cold_users,
)
from training.protocols.protocol import Request
from training.protocols.registry import METHODS, MethodSpec, find_methods
from training.protocols.user_data import parse_window, support_sizes
from training.tasks import positives


def quick_vae() -> MultVAE:
    """Mult-VAE at one setting: its search would take longer than all other tests."""
    family = MultVAE()
    family.axes = {"steps": (120.0,), "dropout": (0.5,), "beta": (0.1,), "dims": (8.0,)}
    family.starts = ({name: values[0] for name, values in family.axes.items()},)
    return family


def quick(spec: MethodSpec[Method]) -> MethodSpec[Method]:
    """The same method with little training, where it trains for long."""
    brief: dict[str, Callable[[], Method]] = {
        "mult-vae": lambda: Blended(quick_vae()),
        "ours": lambda: MetaLearned(
            TrainConfig(dims=8, max_epochs=3), KernelConfig(max_epochs=2, steps_an_epoch=8)
        ),
        "user-vector": lambda: MetaLearned(TrainConfig(dims=8, max_epochs=3), None),
        "plain-maml": lambda: MetaLearned(
            TrainConfig(dims=8, max_epochs=3, plain=True, average=0.0), None, "plain-maml"
        ),
        "item-kernel": lambda: ItemKernelMethod(KernelConfig(max_epochs=2, steps_an_epoch=8)),
    }
    return replace(spec, make=brief.get(spec.name, spec.make))


EVERY_METHOD = tuple(quick(spec) for spec in METHODS)
BASELINES = tuple(spec for spec in EVERY_METHOD if spec.is_baseline)
TUNED = tuple(spec for spec in BASELINES if spec.name != "random")


class Constant:
    """A method that gives the same scores to everyone."""

    name = "constant"

    def __init__(self, value: float = 0.0) -> None:
        self._value = value

    def fit(self, data: ColdUserData) -> None:
        self._n_items = data.n_items

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        return np.full((len(support_BS), self._n_items), self._value, np.float32)

    def settings(self) -> dict[str, Any]:
        return {}


class Oracle(Constant):
    """Knows the test users' queries by their order, which no honest method is told."""

    name = "oracle"

    def __init__(self, split: ColdUserSplit) -> None:
        super().__init__()
        self._test = split.test
        everyone = relevant_items(split.test, np.arange(split.test.n_users))
        self._relevant_UN = everyone.astype(np.float32)

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        if len(support_BS) == len(self._relevant_UN):
            return self._relevant_UN
        return super().score(support_BS, features, n)


def test_sizes_stop_at_the_window() -> None:
    """The reported sizes are cut at the window, which is always one of them."""
    assert support_sizes(20) == (0, 1, 2, 3, 5, 10, 20)
    assert support_sizes(3) == (0, 1, 2, 3)
    assert support_sizes(8) == (0, 1, 2, 3, 5, 8)


def test_the_window_is_chosen_by_the_data(tastes: Dataset) -> None:
    """Nine positives a user are too few for a window of 20."""
    assert split_cold_users(tastes, seed=0).data.window == 3


@pytest.mark.parametrize("text", ["0", "-3", "many", "2.5"])
def test_a_wrong_window_is_named(text: str) -> None:
    """The message has the value and what is allowed."""
    with pytest.raises(SettingError, match=f"--window is '{text}'; it must be auto or a number"):
        parse_window(text)


def test_users_are_in_one_part_each(tastes: Dataset) -> None:
    """70/10/20 of the users with a positive, and the test users differ between seeds."""
    first, second = (split_cold_users(tastes, seed=s) for s in (0, 1))
    assert first.data.train.n_users == 140
    assert first.data.validation.n_users == 20
    assert len(first.test_codes) == 40
    assert set(first.test_codes.tolist()) != set(second.test_codes.tolist())


def test_a_planted_test_user_is_detected(tastes: Dataset) -> None:
    """A test user among the training users stops the protocol, by name."""
    parts = (np.arange(0, 140), np.arange(140, 160), np.arange(139, 200))
    with pytest.raises(DataError, match=r"user 'u139'.*would leak into training"):
        build_split(tastes, positives(tastes), parts, seed=0, window=3)


def test_nothing_that_methods_get_depends_on_test_users(tastes: Dataset) -> None:
    """With every test user's items and features exchanged, methods are given the same data."""
    before = split_cold_users(tastes, seed=0)
    rows = tastes.interactions
    is_test_E = np.isin(rows.user_E, before.test_codes)
    item_E = np.where(is_test_E, tastes.n_items - 1 - rows.item_E, rows.item_E).astype(np.int32)
    assert tastes.users is not None
    is_test_U = np.isin(np.arange(tastes.n_users), before.test_codes)
    kinds = ["never seen" if t else k for t, k in zip(is_test_U, tastes.users["kind"], strict=True)]
    exchanged = replace(
        tastes,
        interactions=replace(rows, item_E=item_E),
        users=tastes.users.with_columns(kind=np.array(kinds)),
    )
    after = split_cold_users(exchanged, seed=0)
    assert not np.array_equal(after.test.window_UW, before.test.window_UW)
    for name in ("train", "validation"):
        ours, theirs = getattr(after.data, name), getattr(before.data, name)
        assert np.array_equal(ours.item_E, theirs.item_E)
        features = f"{name}_features"
        difference = getattr(after.data, features) - getattr(before.data, features)
        assert difference.nnz == 0
    assert np.array_equal(after.data.candidates_N, before.data.candidates_N)


def test_an_oracle_is_perfect(tastes: Dataset) -> None:
    """Whoever ranks by the query gets 1 at every size, in both views."""
    split = split_cold_users(tastes, seed=0)
    spec = MethodSpec("oracle", lambda: Oracle(split), is_baseline=False)
    run = run_method(spec, split)
    assert run.figures_nVUM == pytest.approx(np.ones((4, 2, split.test.n_users, 3)))


def test_every_baseline_learns_the_tastes(tastes: Dataset) -> None:
    """On the tastes, fold-in methods with one item and DemoPop without any beat popularity."""
    found = run_cold_user(Request(tastes, [0], resamples=200), TUNED)
    popular = found.row("popularity", "masked", "ndcg@10")[0].mean
    for name in ("item-knn", "ease", "pure-svd", "ials", "mult-vae", "demo-pop"):
        assert found.row(name, "masked", "ndcg@10")[1].mean > 1.3 * popular


def test_permuted_items_leave_every_method_at_chance(noise: Dataset) -> None:
    """Where items say nothing of users, no method differs from random scores by its noise."""
    found = run_cold_user(Request(noise, [0, 1], resamples=200), EVERY_METHOD)
    chance = found.row("random", "masked", "recall@20")
    assert set(found.methods) == {spec.name for spec in METHODS}
    for name in found.methods:
        for cell, random in zip(found.row(name, "masked", "recall@20"), chance, strict=True):
            assert abs(cell.mean - random.mean) < 4 * (cell.high - cell.low) / 2


def test_nan_scores_stop_the_run(tastes: Dataset) -> None:
    """The message names the method."""
    broken = MethodSpec("broken", lambda: Constant(float("nan")), is_baseline=True)
    with pytest.raises(ScoreError, match="method 'broken'"):
        run_cold_user(Request(tastes, [0], resamples=100), [broken])


def test_a_run_repeats_itself(tastes: Dataset) -> None:
    """The same seeds give the same figures, intervals and differences."""
    specs = [
        *find_methods(["random", "late-popularity", "item-knn"], METHODS),
        MethodSpec("constant", Constant, is_baseline=False),
    ]
    first, second = (run_cold_user(Request(tastes, [0, 1], resamples=100), specs) for _ in range(2))
    assert first.cells == second.cells
    assert first.differences == second.differences


def test_others_are_compared_with_every_baseline_and_the_best(tastes: Dataset) -> None:
    """Differences are paired, for every size, and the best baseline is named both ways."""
    specs = [
        *find_methods(["random", "popularity", "demo-pop"], METHODS),
        MethodSpec("constant", Constant, is_baseline=False),
    ]
    found = run_cold_user(Request(tastes, [0], resamples=100), specs)
    shown = {d.against for d in found.differences}
    assert shown == {"random", "popularity", "demo-pop", BEST_ON_VALIDATION, BEST_ON_TEST}
    one = next(
        d
        for d in found.differences
        if (d.against, d.view, d.metric, d.n) == (BEST_ON_TEST, "masked", "ndcg@10", 0)
    )
    ours, theirs = (found.row(m, "masked", "ndcg@10")[0].mean for m in ("constant", "demo-pop"))
    assert one.against_method == "demo-pop"
    assert one.mean == pytest.approx(ours - theirs)
    assert one.low <= one.mean <= one.high < 0


def test_a_data_set_without_long_histories_is_refused(tastes: Dataset) -> None:
    """The message says how many positives a user would need, and the remedy."""
    with pytest.raises(DataError, match="has 37 positive interactions, which a window of 30 needs"):
        split_cold_users(tastes, seed=0, window=30)


def test_an_unknown_method_is_named() -> None:
    """The message lists what there is."""
    with pytest.raises(SettingError, match="no method 'svdpp'; there are random, popularity"):
        find_methods(["ease", "svdpp"], METHODS)


def test_methods_of_one_name_are_refused(tastes: Dataset) -> None:
    """Two rows of one name could not be told apart."""
    with pytest.raises(SettingError, match="each once"):
        run_cold_user(Request(tastes, [0], resamples=100), [METHODS[0], METHODS[0]])
