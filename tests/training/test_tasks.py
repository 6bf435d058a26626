"""Tasks: histories, splits and episodes have known answers."""

import numpy as np
import pytest

from training.tasks import (
    PADDING,
    Histories,
    automatic_window,
    draw_episodes,
    from_pairs,
    representative_users,
    split_users,
)


@pytest.fixture
def histories() -> Histories:
    users = np.array([0, 0, 0, 1, 2, 2, 2, 2])
    items = np.array([4, 1, 4, 2, 0, 1, 2, 3])
    return from_pairs(users, items, n_users=4, n_items=5)


def test_a_repeated_item_counts_once_at_its_first_place(histories: Histories) -> None:
    """The second interaction with an item changes nothing; a user without positives is empty."""
    assert [histories.items(u).tolist() for u in range(4)] == [[4, 1], [2], [0, 1, 2, 3], []]


def test_take_and_padded_keep_the_order(histories: Histories) -> None:
    """Users come out in the order asked for, items oldest first, padding behind."""
    taken = histories.take(np.array([2, 0]))
    assert taken.padded(3).tolist() == [[0, 1, 2], [4, 1, PADDING]]


def test_split_users_parts_everyone_once() -> None:
    """Train, validation and test hold every user exactly once, by the fractions."""
    parts = split_users(np.arange(100), np.random.default_rng(0))
    assert [len(p) for p in parts] == [70, 10, 20]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))


def test_automatic_window_is_20_on_dense_and_3_on_sparse_data() -> None:
    """Half of the usable users need a full window and a query of five for the window of 20."""
    assert automatic_window(np.array([1, 1, 30, 26, 24])) == 20
    assert automatic_window(np.array([5, 6, 7, 300])) == 3
    assert automatic_window(np.array([1, 2])) == 3


def test_an_episode_never_asks_for_what_it_shows() -> None:
    """Support and query of an episode are disjoint, and everything before the query is masked."""
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(50), 30)
    items = np.concatenate([rng.permutation(200)[:30] for _ in range(50)])
    histories = from_pairs(users, items, 50, 200)
    episodes = draw_episodes(histories, np.arange(50), 20, rng)
    for row in range(50):
        shown = set(episodes.support_BS[row].tolist()) - {PADDING}
        query = set(episodes.query_item[episodes.query_row == row].tolist())
        masked = set(episodes.masked_item[episodes.masked_row == row].tolist())
        assert query
        assert shown <= masked
        assert not masked & query
        assert masked | query == set(histories.items(row).tolist())
    assert len({int((r != PADDING).sum()) for r in episodes.support_BS}) > 10


def test_users_with_a_full_window_are_learned_from_alone() -> None:
    """A hundred of them are enough: shorter histories end where the others' queries begin."""
    lengths = [4] * 100 + [3] * 50
    histories = _of_lengths(lengths)
    assert representative_users(histories, 3).tolist() == list(range(100))


def test_where_few_have_a_full_window_everyone_with_a_query_counts() -> None:
    """99 full windows are too few: all users with two positives take part, single ones never."""
    histories = _of_lengths([4] * 99 + [3] * 5 + [2] * 5 + [1] * 5)
    assert representative_users(histories, 3).tolist() == list(range(109))


def _of_lengths(lengths: list[int]) -> Histories:
    users = np.repeat(np.arange(len(lengths)), lengths)
    items = np.concatenate([np.arange(n) for n in lengths])
    return from_pairs(users, items, len(lengths), max(lengths))
