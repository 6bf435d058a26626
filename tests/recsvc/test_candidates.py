"""The scan and the top k, against sorting everything."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.candidates import cosine, log_totals, scan, top_k

SCORES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=0, max_size=30)


@settings(deadline=None)  # the machine may be busy
@given(scores=SCORES, k=st.integers(min_value=0, max_value=40), data=st.data())
def test_top_k_equals_sorting_everything(scores: list[float], k: int, data: st.DataObject) -> None:
    """Best first, equal scores by ascending id, only what is allowed, never more than there is."""
    n = len(scores)
    allowed = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    ids = [f"{i}" for i in data.draw(st.permutations(range(n)))]
    scores_N = np.asarray(scores, dtype=np.float32)
    expected = sorted((i for i in range(n) if allowed[i]), key=lambda i: (-scores[i], ids[i]))[:k]
    assert expected == top_k(scores_N, np.asarray(allowed, dtype=bool), k, ids).tolist()


def test_scan_over_blocks_equals_one_product() -> None:
    """Trained and added items are scored alike."""
    rng = np.random.default_rng(0)
    vectors_ND = rng.normal(size=(100, 8)).astype(np.float32)
    bias_N = rng.normal(size=100).astype(np.float32)
    vector_D = rng.normal(size=8).astype(np.float32)
    blocks = [(vectors_ND[:70], bias_N[:70]), (vectors_ND[70:], bias_N[70:])]
    np.testing.assert_allclose(
        vectors_ND @ vector_D + bias_N, scan(vector_D, blocks), rtol=1e-5, atol=1e-6
    )


def test_totals_over_blocks_equal_one_sum() -> None:
    """The log of the sum of exponentials, of each vector alone, far scores included."""
    rng = np.random.default_rng(1)
    vectors_ND = rng.normal(size=(20_001, 4)).astype(np.float32)
    bias_N = rng.normal(size=20_001).astype(np.float32)
    vectors_KD = np.asarray([[0, 0, 0, 0], [1, -1, 0, 2], [90, 0, 0, 0]], dtype=np.float32)
    scores_KN = vectors_KD.astype(np.float64) @ vectors_ND.T + bias_N
    largest_K = scores_KN.max(axis=1)
    expected_K = largest_K + np.log(np.exp(scores_KN - largest_K[:, None]).sum(axis=1))
    np.testing.assert_allclose(log_totals(vectors_KD, vectors_ND, bias_N), expected_K, rtol=1e-5)


def test_cosine_knows_direction_alone() -> None:
    """Length plays no part, and a zero vector is like nothing."""
    vectors_ND = np.asarray([[2, 0], [0, 3], [-1, 0], [0, 0]], dtype=np.float32)
    blocks = [(vectors_ND, np.zeros(4, dtype=np.float32))]
    vector_D = np.asarray([5, 0], dtype=np.float32)
    assert cosine(vector_D, blocks).tolist() == [1.0, 0.0, -1.0, 0.0]
    assert cosine(np.zeros(2, dtype=np.float32), blocks).tolist() == [0.0] * 4
