"""Each family's model against the same thing worked out another way."""

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from tests.training.worlds import GROUP, checkerboard, checkerboard_data
from training.baselines import ease
from training.baselines.blend import Family
from training.baselines.ease import EASE
from training.baselines.ials import IALS, folded_users
from training.baselines.interactions import binary_matrix, support_matrix
from training.baselines.item_knn import ItemKNN
from training.baselines.pure_svd import PureSVD
from training.methods import ColdUserData
from training.tasks import Histories, from_pairs

FAMILIES: tuple[type[Family], ...] = (EASE, IALS, ItemKNN, PureSVD)


def data_of(histories: Histories) -> ColdUserData:
    """Training data without features or validation users."""
    none = checkerboard_data()
    return ColdUserData(
        train=histories,
        train_features=csr_matrix(np.ones((histories.n_users, 1), np.float32)),
        validation=none.validation,
        validation_features=none.validation_features,
        window=3,
        sizes=(0, 1, 2, 3),
        candidates_N=histories.counts() > 0,
        item_features=None,
        seed=0,
    )


@pytest.fixture
def random_data() -> ColdUserData:
    rng = np.random.default_rng(3)
    picks = [rng.permutation(15)[: rng.integers(3, 9)] for _ in range(60)]
    users = np.repeat(np.arange(60), [len(p) for p in picks])
    return data_of(from_pairs(users, np.concatenate(picks), 60, 15))


def test_matrices_leave_the_time_order_alone() -> None:
    """Building a sorted matrix does not sort the histories that it is built from."""
    histories = from_pairs(np.array([0, 0, 0]), np.array([4, 1, 3]), 1, 5)
    assert binary_matrix(histories).toarray().tolist() == [[0, 1, 0, 1, 1]]
    assert histories.items(0).tolist() == [4, 1, 3]


def test_padding_is_no_item() -> None:
    """A padded support row leaves no trace in the matrix."""
    support = np.array([[2, -1], [-1, -1]], dtype=np.int32)
    assert support_matrix(support, 4).toarray().tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_item_tells_the_taste(family: type[Family]) -> None:
    """On the checkerboard the best ten items after one of a taste are all of that taste."""
    model = family().fit(checkerboard_data(), family.starts[0])
    scores = model(np.array([[3], [GROUP + 3]], dtype=np.int32))
    best = np.argsort(-scores, axis=1)[:, :10]
    assert (best // GROUP).tolist() == [[0] * 10, [1] * 10]


def test_ease_equals_one_ridge_regression_an_item(random_data: ColdUserData) -> None:
    """Each column is the ridge regression of an item on all others: its closed form's meaning."""
    seen = binary_matrix(random_data.train).toarray().astype(np.float64)
    scores = EASE().fit(random_data, {"l2": 10.0})(np.arange(15, dtype=np.int32)[:, None])
    for item in range(15):
        rest = [i for i in range(15) if i != item]
        gram = seen[:, rest].T @ seen[:, rest] + 10.0 * np.eye(14)
        expected = np.linalg.solve(gram, seen[:, rest].T @ seen[:, item])
        assert scores[rest, item] == pytest.approx(expected, abs=1e-4)
        assert scores[item, item] == 0.0


def test_ease_keeps_the_most_popular_items_of_a_large_catalogue(
    random_data: ColdUserData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the rarest items take no part and score zero."""
    monkeypatch.setattr(ease, "MAX_ITEMS", 10)
    scores = EASE().fit(random_data, {"l2": 10.0})(np.arange(15, dtype=np.int32)[:, None])
    rarest = np.argsort(-random_data.train.counts(), kind="stable")[10:]
    assert np.count_nonzero(scores[:, rarest]) == 0
    assert np.count_nonzero(scores[rarest]) == 0
    assert np.count_nonzero(scores) > 0


def test_ease_mirrors_blocks_as_one_piece(
    random_data: ColdUserData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block size of the mirror changes nothing."""
    support = np.arange(15, dtype=np.int32)[:, None]
    whole = EASE().fit(random_data, {"l2": 10.0})(support)
    monkeypatch.setattr(ease, "_BLOCK_ROWS", 4)
    assert np.array_equal(EASE().fit(random_data, {"l2": 10.0})(support), whole)


def test_pure_svd_is_the_projection_on_the_top_singular_vectors(random_data: ColdUserData) -> None:
    """With power 0 the score is s V Vᵀ of an exact decomposition."""
    seen = binary_matrix(random_data.train).toarray()
    top = np.linalg.svd(seen, full_matrices=False)[2][:4]
    support = np.array([[1, 2], [5, -1]], dtype=np.int32)
    scores = PureSVD().fit(random_data, {"popularity_power": 0.0, "dims": 4.0})(support)
    expected = support_matrix(support, 15).toarray() @ top.T @ top
    assert scores == pytest.approx(expected, abs=1e-4)


def test_pure_svd_cuts_dims_to_the_rank(random_data: ColdUserData) -> None:
    """More dims than items reproduce the support itself."""
    support = np.array([[7]], dtype=np.int32)
    scores = PureSVD().fit(random_data, {"popularity_power": 0.0, "dims": 256.0})(support)
    assert scores == pytest.approx(np.eye(15)[[7]], abs=1e-4)


def test_folded_users_are_those_of_the_library() -> None:
    """The fold-in by small systems equals `implicit`'s own exact solution."""
    histories = checkerboard(60, 8, seed=1)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=6, regularization=2.0, alpha=5.0, iterations=3, num_threads=1, random_state=0
        )
        model.fit(binary_matrix(histories), show_progress=False)
        support = np.array([[1, 7, 3], [25, -1, -1]], dtype=np.int32)
        expected = model.recalculate_user(np.arange(2), support_matrix(support, 2 * GROUP))
    vectors = model.item_factors
    inverse = np.linalg.inv(vectors.T @ vectors + 2.0 * np.eye(6, dtype=np.float32))
    assert folded_users(support, vectors, inverse, 5.0) == pytest.approx(expected, abs=1e-4)


def test_item_knn_similarity_is_the_shrunk_cosine() -> None:
    """Items 0 and 1 share two of their three users each: 2 / (sqrt(3 · 3) + 1)."""
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 1), (3, 2)]
    users, items = np.array(pairs).T
    wanted = {"shrinkage": 1.0, "count_power": 0.5, "user_power": 0.0, "neighbours": 10.0}
    model = ItemKNN().fit(data_of(from_pairs(users, items, 4, 3)), wanted)
    scores = model(np.array([[0], [1]], dtype=np.int32))
    assert scores[0].tolist() == pytest.approx([0.0, 2 / 4, 0.0])
    assert scores[1].tolist() == pytest.approx([2 / 4, 0.0, 1 / (np.sqrt(3) + 1)])


def test_item_knn_keeps_the_nearest_neighbours() -> None:
    """With one neighbour an item speaks for its most similar item alone."""
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 1), (3, 2)]
    users, items = np.array(pairs).T
    wanted = {"shrinkage": 0.0, "count_power": 0.5, "user_power": 0.0, "neighbours": 1.0}
    model = ItemKNN().fit(data_of(from_pairs(users, items, 4, 3)), wanted)
    assert np.count_nonzero(model(np.array([[1]], dtype=np.int32))) == 1
