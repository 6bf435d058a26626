"""The item-item kernel: known counts, no user votes for themself, and tastes are found."""

from dataclasses import fields

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tests.training.worlds import GROUP, checkerboard_data
from training.kernel.features import content_cosine, edge_features, training_pairs
from training.kernel.method import ItemKernelMethod
from training.kernel.pairs import Graph, count_pairs, recent
from training.kernel.train import KernelConfig
from training.tasks import Histories, from_pairs


def histories() -> Histories:
    """Three users: a b c, a b, and d alone."""
    return from_pairs(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 3]), 3, 4)


def edge(graph: Graph, source: int, item: int) -> int:
    start, stop = graph.indptr_N1[source : source + 2]
    return int(start + np.flatnonzero(graph.item_E[start:stop] == item)[0])


def test_pair_statistics_have_known_values() -> None:
    """Co-users, shares, order and nearness of a pair, both ways."""
    graph = count_pairs(histories(), 10, np.random.default_rng(0))
    there, back = edge(graph, 0, 1), edge(graph, 1, 0)
    assert graph.users_E[there] == graph.users_E[back] == 2
    np.testing.assert_allclose(graph.weight_E[[there, back]], [1.5, 1.5])
    np.testing.assert_allclose(graph.after_E[[there, back]], [1.5, 0.0])
    np.testing.assert_allclose(graph.near_E[edge(graph, 0, 2)], np.exp(-0.5), rtol=1e-6)
    assert graph.indptr_N1[4] == graph.indptr_N1[3]
    np.testing.assert_array_equal(graph.degree_N, [2, 2, 1, 1])


def test_only_the_heaviest_edges_of_an_item_are_kept() -> None:
    """With one edge an item, a keeps b (two users) and not c."""
    graph = count_pairs(histories(), 1, np.random.default_rng(0))
    assert graph.item_E[graph.indptr_N1[0] : graph.indptr_N1[1]].tolist() == [1]


@pytest.mark.parametrize("edges", [1.0, 7.5, 1000.0])
def test_counting_in_pieces_changes_nothing(edges: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """One item at a time gives the very edges and statistics of all items at once."""
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 60, 900), (30 * rng.random(900) ** 2).astype(np.int64)
    order = np.argsort(users, kind="stable")
    counted = from_pairs(users[order], items[order], 60, 30)
    whole = count_pairs(counted, edges, np.random.default_rng(0))
    monkeypatch.setattr("training.kernel.pairs._PIECE_PAIRS", 1)
    pieces = count_pairs(counted, edges, np.random.default_rng(0))
    for field in fields(Graph):
        np.testing.assert_array_equal(getattr(pieces, field.name), getattr(whole, field.name))


def test_nobody_with_two_items_makes_no_edges() -> None:
    """Histories of one item each."""
    single = from_pairs(np.array([0, 1]), np.array([0, 1]), 2, 3)
    graph = count_pairs(single, 10, np.random.default_rng(0))
    assert graph.indptr_N1.tolist() == [0, 0, 0, 0]
    assert len(graph.item_E) == 0


def test_recent_keeps_the_latest_positives() -> None:
    """Of a long history only the end makes pairs."""
    assert recent(histories(), 2).items(0).tolist() == [1, 2]


def test_a_user_is_taken_out_of_the_counts_that_train_on_them() -> None:
    """A pair made by this user alone is no edge; of a shared one the other user remains."""
    counted = histories()
    graph = count_pairs(counted, 10, np.random.default_rng(0))
    cosine = content_cosine(graph, None)
    pairs = training_pairs(np.array([[0]], np.int32), counted.take(np.array([0])), graph, cosine)
    assert pairs.item_P.tolist() == [1]
    np.testing.assert_allclose(pairs.features_PF[0, :3], [0.0, 0.0, 1.0], atol=1e-6)
    full = edge_features(graph, cosine)[edge(graph, 0, 1)]
    np.testing.assert_allclose(full[0], np.log(2), rtol=1e-6)


def test_content_cosine_is_one_for_equal_content_and_zero_for_none_shared() -> None:
    """Items with the same attributes, and with different ones."""
    graph = count_pairs(histories(), 10, np.random.default_rng(0))
    content = csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1]], np.float32))
    cosine = content_cosine(graph, content)
    assert abs(cosine[edge(graph, 0, 1)] - 1) < 1e-6
    assert cosine[edge(graph, 0, 2)] == 0


def test_the_kernel_finds_the_taste_on_a_checkerboard() -> None:
    """After one item of a taste, the ten best items are of that taste."""
    method = ItemKernelMethod(KernelConfig(max_epochs=20, patience_epochs=20))
    method.fit(checkerboard_data())
    clicks = np.array([[3], [GROUP + 3]], dtype=np.int32)
    scores = method.score(clicks, csr_matrix(np.ones((2, 1), np.float32)), 1)
    best = np.argsort(-scores, axis=1)[:, :10]
    assert (best[0] < GROUP).all()
    assert (best[1] >= GROUP).all()
