"""The protocol over time: nothing after the cut is learned from, both groups are measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.datasets import Dataset, load
from training.errors import DataError, SettingError
from training.evaluate import Evaluation
from training.methods import ColdUserData
from training.protocols.over_time import TIME_VIEWS, run_time
from training.protocols.protocol import Request
from training.protocols.registry import METHODS, MethodSpec, find_methods
from training.protocols.time_split import parse_cut, split_by_time
from training.tasks import positives

CUT_S = 1_600_000_000
EARLY, BOTH, LATE, GROUP, EACH = 60, 30, 30, 20, 7
USERS = EARLY + BOTH + LATE


def write_eras(directory: Path) -> Path:
    """Users of two tastes: of the past alone, of both eras, and of the time after the cut."""
    rng = np.random.default_rng(3)
    lines = ["user_id,item_id,timestamp"]
    for user in range(USERS):
        items = rng.permutation(GROUP)[: 2 * EACH] + GROUP * (user % 2)
        start = 0 if user >= EARLY + BOTH else -EACH
        stop = 0 if user < EARLY else EACH - (user >= EARLY + BOTH)
        times = np.arange(start, stop)
        for item, at in zip(items, times, strict=False):
            lines.append(f"u{user:03d},i{item:02d},{CUT_S + 100 * at + user % 7}")
    directory.mkdir(parents=True)
    (directory / "interactions.csv").write_text("\n".join(lines) + "\n")
    tastes = [f"u{user:03d},{'even' if user % 2 == 0 else 'odd'}" for user in range(USERS)]
    (directory / "users.csv").write_text("\n".join(["user_id,kind", *tastes]) + "\n")
    return directory


@pytest.fixture(scope="module")
def eras(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(write_eras(tmp_path_factory.mktemp("worlds") / "eras"))


@pytest.fixture(scope="module")
def cut_ms(eras: Dataset) -> int:
    assert eras.interactions.timestamp_E is not None
    return parse_cut("2020-09-13T12:26:40Z", eras.interactions.timestamp_E)


class Watching:
    """Scores nothing, remembers what it was given."""

    name = "watching"
    supports: dict[int, list[NDArray[np.int32]]]

    def fit(self, data: ColdUserData) -> None:
        self._n_items = data.n_items
        self.supports = {}

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        self.supports.setdefault(n, []).append(support_BS)
        return np.zeros((len(support_BS), self._n_items), np.float32)

    def settings(self) -> dict[str, Any]:
        return {}


def test_the_cut_is_read_as_a_date_or_a_share() -> None:
    """A date without an offset is UTC; a share is that of the interactions."""
    times = np.array([0, 1_000, 2_000, 86_400_000 * 2], dtype=np.int64)
    assert parse_cut("1970-01-02", times) == 86_400_000
    assert parse_cut("0.5", times) == 1_500


@pytest.mark.parametrize("text", ["tomorrow", "1.5", "-1"])
def test_a_wrong_cut_is_named(text: str) -> None:
    """The message has the value and what is allowed."""
    with pytest.raises(SettingError, match=f"--cut is '{text}'; it must be a date"):
        parse_cut(text, np.array([0, 1], dtype=np.int64))


@pytest.mark.parametrize("text", ["1999-01-01", "2030-01-01"])
def test_a_cut_outside_of_the_data_is_refused(text: str, eras: Dataset) -> None:
    """The message says from when to when the data runs."""
    assert eras.interactions.timestamp_E is not None
    with pytest.raises(SettingError, match="the data set runs from 2020-09-13T12:1"):
        parse_cut(text, eras.interactions.timestamp_E)


def test_users_are_new_or_known(eras: Dataset, cut_ms: int) -> None:
    """Who appears after the cut is new; everyone else is known, and an eighth of them tunes."""
    split = split_by_time(eras, cut_ms, seed=0, window=3)
    assert split.data.train.n_users + split.data.validation.n_users == EARLY + BOTH
    assert [eras.user_ids[u] for u in split.new_codes] == [f"u{u:03d}" for u in range(90, 120)]
    asked = split.known.query.lengths_U
    assert 0 < np.count_nonzero(asked) <= BOTH
    assert set(asked[:EARLY].tolist()) == {0}


def test_nothing_after_the_cut_is_learned_from(eras: Dataset, cut_ms: int) -> None:
    """With every item after the cut exchanged, methods are given the same data."""
    rows = eras.interactions
    assert rows.timestamp_E is not None
    after_E = rows.timestamp_E >= cut_ms
    item_E = np.where(after_E, eras.n_items - 1 - rows.item_E, rows.item_E).astype(np.int32)
    exchanged = replace(eras, interactions=replace(rows, item_E=item_E))
    before, after = (split_by_time(d, cut_ms, 0, 3) for d in (eras, exchanged))
    assert not np.array_equal(before.new.window_UW, after.new.window_UW)
    for name in ("train", "validation"):
        ours, theirs = getattr(before.data, name), getattr(after.data, name)
        assert np.array_equal(ours.item_E, theirs.item_E)
    assert np.array_equal(before.data.candidates_N, after.data.candidates_N)
    assert np.array_equal(before.known.past.item_E, after.known.past.item_E)


def test_known_users_have_their_last_items_as_support(eras: Dataset, cut_ms: int) -> None:
    """At n the support is the n most recent positives before the cut, oldest first."""
    method = Watching()
    run_time(request(eras), [MethodSpec("watching", lambda: method, is_baseline=False)])
    split = split_by_time(eras, cut_ms, seed=0, window=3)
    asked = np.flatnonzero(split.known.query.lengths_U)
    expected = [split.known.past.items(int(u))[-2:].tolist() for u in asked]
    assert any(block.tolist() == expected for block in method.supports[2])
    histories = positives(eras)
    assert (
        expected[0] == histories.items(int(split.known_codes[asked[0]]))[EACH - 2 : EACH].tolist()
    )


def request(dataset: Dataset, seeds: int = 1) -> Request:
    options = {"cut": "2020-09-13T12:26:40Z"}
    return Request(dataset, range(seeds), options=options, resamples=100)


def row(found: Evaluation, method: str, view: str) -> list[float]:
    return [cell.mean for cell in found.row(method, view, "ndcg@10")]


def test_both_groups_are_measured(eras: Dataset) -> None:
    """Tastes help new users from one item on, known ones with their past; seeds share users."""
    found = run_time(request(eras, seeds=2), find_methods(["popularity", "item-knn"], METHODS))
    assert found.views == TIME_VIEWS
    assert found.row("item-knn", "new users", "ndcg@10")[0].users == LATE
    assert found.row("item-knn", "known users", "ndcg@10")[0].users <= BOTH
    for view in ("new users", "known users"):
        assert row(found, "item-knn", view)[1] > 1.2 * row(found, "popularity", view)[1]
    assert found.settings["cut"] == "2020-09-13T12:26:40+00:00"


def test_a_past_item_is_no_candidate_of_a_known_user(eras: Dataset) -> None:
    """Whoever ranks the past first is not punished for it: it is removed from the lists."""

    class PastFirst(Watching):
        def fit(self, data: ColdUserData) -> None:
            super().fit(data)
            self._counts = data.train.counts().astype(np.float32)

        def score(
            self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
        ) -> NDArray[np.float32]:
            scores_BN = np.repeat(self._counts[None, :], len(support_BS), axis=0)
            rows, columns = np.nonzero(support_BS >= 0)
            scores_BN[rows, support_BS[rows, columns]] = 1e6
            return scores_BN

    found = run_time(
        request(eras),
        [
            *find_methods(["popularity"], METHODS),
            MethodSpec("past-first", PastFirst, is_baseline=False),
        ],
    )
    assert row(found, "past-first", "known users") == pytest.approx(
        row(found, "popularity", "known users")
    )


def test_a_data_set_without_times_is_refused(eras: Dataset) -> None:
    """The message says what is missing."""
    timeless = replace(eras, interactions=replace(eras.interactions, timestamp_E=None))
    with pytest.raises(DataError, match="no timestamps, which a split by time needs"):
        run_time(request(timeless), find_methods(["popularity"], METHODS))


def test_a_cut_without_new_users_is_refused(eras: Dataset, cut_ms: int) -> None:
    """The message says how many there are, what they would need, and the remedy."""
    with pytest.raises(DataError, match="none of the 30 users who first appear after"):
        split_by_time(eras, cut_ms, seed=0, window=5)
