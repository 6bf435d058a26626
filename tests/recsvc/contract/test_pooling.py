"""The pooled score: equal to its formula, and sound for any numbers.

Shape legend: N items, M trained items, S support rows, W window.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from recsvc.contract.manifest import PoolingSpec
from recsvc.contract.pooling import (
    Floats,
    Kernel,
    add_kernel,
    kernel_mass,
    lift,
    log_total,
    pooled,
    support_factors,
)
from tests.recsvc.kernels import WorldKernel

LARGEST = float(np.finfo(np.float32).max)
bounded = settings(max_examples=60, deadline=None)  # the machine may be busy


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(min_value=low, max_value=high, allow_nan=False)


class Case(NamedTuple):
    """One user before a kernel."""

    kernel: WorldKernel
    scores_N: Floats
    support_S: NDArray[np.int64]
    weight_S: Floats

    def mass(self) -> Floats:
        return kernel_mass(self.kernel.edges, self.support_S, self.weight_S, self.kernel.pooling)

    def served(self) -> Floats:
        size = int((self.weight_S > 0).sum())
        return pooled(self.scores_N, self.mass(), size, self.kernel.pooling)


@st.composite
def poolings(draw: st.DrawFn) -> PoolingSpec:
    """Weights such as training could learn, and some far from that."""
    window = draw(st.integers(min_value=1, max_value=4))
    return PoolingSpec(
        rank=tuple(draw(st.lists(numbers(0, 3), min_size=1, max_size=4))),
        alpha=tuple(draw(numbers(-20, 20)) for _ in range(window + 1)),
        beta=tuple(draw(numbers(0, 5)) for _ in range(window + 1)),
        theta=draw(st.sampled_from([0.0, 1.0]) | numbers(-1, 3)),
    )


@st.composite
def cases(draw: st.DrawFn, score: float = 20.0, strength: float = 100.0) -> Case:
    """A support of rows of every kind: trained, without edges, negative or padding (weight 0)."""
    n_trained = draw(st.integers(min_value=1, max_value=6))
    n_items = n_trained + draw(st.integers(min_value=0, max_value=3))

    def floats(shape: Any, low: float, high: float) -> st.SearchStrategy[Any]:
        within = st.floats(float(np.float32(low)), float(np.float32(high)), width=32)
        return hnp.arrays(np.float32, shape, elements=within)

    kernel = WorldKernel(
        draw(floats((n_trained, n_trained), 0.0, strength) | floats((n_trained,) * 2, 0, 0)),
        draw(poolings()),
    )
    rows = draw(st.lists(st.integers(0, n_items - 1), max_size=7, unique=True))
    weight_S = draw(floats(len(rows), 0.0, 10.0))
    silent_S = draw(hnp.arrays(np.bool_, len(rows)))
    return Case(
        kernel,
        draw(floats(n_items, -score, score)),
        np.asarray(rows, dtype=np.int64),
        np.where(silent_S, np.float32(0), weight_S),
    )


extreme = cases(score=LARGEST, strength=LARGEST)


@bounded
@given(case=cases())
def test_the_score_is_its_formula(case: Case) -> None:
    """Both ways to compute it equal plain Python, item by item, within 1e-5."""
    expected = case.kernel.served(case.scores_N, case.support_S.tolist(), case.weight_S.tolist())
    np.testing.assert_allclose(case.served(), expected, rtol=1e-5, atol=1e-5)
    in_place_N = case.scores_N.copy()
    kernel = Kernel(case.kernel.edges, case.kernel.pooling)
    add_kernel(in_place_N, kernel, case.support_S, case.weight_S)
    np.testing.assert_allclose(in_place_N, expected, rtol=1e-5, atol=1e-5)


@bounded
@given(case=extreme)
def test_extreme_numbers_stay_finite(case: Case) -> None:
    """The largest scores and strengths that float32 holds give finite scores, and no warning."""
    assert np.isfinite(case.mass()).all()
    assert np.isfinite(case.served()).all()
    assert np.isfinite(log_total(case.scores_N))
    in_place_N = case.scores_N.copy()
    kernel = Kernel(case.kernel.edges, case.kernel.pooling)
    add_kernel(in_place_N, kernel, case.support_S, case.weight_S)
    assert np.isfinite(in_place_N).all()


@bounded
@given(case=extreme, size=st.integers(min_value=0, max_value=9))
def test_no_mass_changes_nothing(case: Case, size: int) -> None:
    """Without mass, and without positive rows, the scores are the vector's to the last bit."""
    nothing_M = np.zeros(case.kernel.n_trained, dtype=np.float32)
    pooling = case.kernel.pooling
    np.testing.assert_array_equal(case.scores_N, pooled(case.scores_N, nothing_M, size, pooling))
    np.testing.assert_array_equal(case.scores_N, pooled(case.scores_N, case.mass(), 0, pooling))
    untouched_N = case.scores_N.copy()
    silent_S = np.zeros_like(case.weight_S)
    add_kernel(untouched_N, Kernel(case.kernel.edges, pooling), case.support_S, silent_S)
    np.testing.assert_array_equal(case.scores_N, untouched_N)


@bounded
@given(case=extreme)
def test_items_without_mass_keep_their_score(case: Case) -> None:
    """Only what the support speaks for moves, and never down; untrained items never move."""
    mass_N = np.zeros(len(case.scores_N), dtype=np.float32)
    mass_N[: case.kernel.n_trained] = case.mass()
    served_N = case.served()
    np.testing.assert_array_equal(case.scores_N[mass_N == 0], served_N[mass_N == 0])
    assert (served_N >= case.scores_N).all()


@bounded
@given(case=cases(), data=st.data())
def test_padding_may_lie_anywhere(case: Case, data: st.DataObject) -> None:
    """Rows of weight 0 change nothing, wherever they are and whatever item they name."""
    places = data.draw(st.lists(st.integers(0, len(case.support_S)), max_size=4))
    padded = case._replace(
        support_S=np.insert(case.support_S, places, -1),
        weight_S=np.insert(case.weight_S, places, 0.0),
    )
    np.testing.assert_array_equal(case.mass(), padded.mass())
    np.testing.assert_array_equal(case.served(), padded.served())


@bounded
@given(case=extreme, item=st.integers(min_value=0), factor=numbers(1.0, 1e6))
def test_more_mass_never_lowers_a_score(case: Case, item: int, factor: float) -> None:
    """A score grows with the mass of its item and looks at no other item's mass."""
    mass_M = np.minimum(case.mass(), LARGEST / 1e7).astype(np.float32)
    more_M = mass_M.copy()
    chosen = item % len(mass_M)
    more_M[chosen] = more_M[chosen] * np.float32(factor) + np.float32(factor - 1)
    before_N = pooled(case.scores_N, mass_M, 3, case.kernel.pooling)
    after_N = pooled(case.scores_N, more_M, 3, case.kernel.pooling)
    assert after_N[chosen] >= before_N[chosen]
    np.testing.assert_array_equal(np.delete(before_N, chosen), np.delete(after_N, chosen))


@bounded
@given(case=cases())
def test_a_batch_of_supports_equals_its_singles(case: Case) -> None:
    """Factors and lift take many supports at once."""
    pooling = case.kernel.pooling
    weight_BS = np.stack([case.weight_S, case.weight_S[::-1], 0 * case.weight_S])
    factor_BS = support_factors(weight_BS, pooling)
    for weight_S, factor_S in zip(weight_BS, factor_BS, strict=True):
        np.testing.assert_array_equal(support_factors(weight_S, pooling), factor_S)
    scores_BN = np.stack([case.scores_N, case.scores_N[::-1]]).astype(np.float64)
    mass_BN = np.abs(scores_BN)
    totals, sizes = np.asarray([[3.0], [5.0]]), np.asarray([[1], [9]])
    lift_BN = lift(scores_BN, mass_BN, totals, sizes, pooling)
    for b in range(2):
        alone_N = lift(scores_BN[b], mass_BN[b], totals[b, 0], int(sizes[b, 0]), pooling)
        np.testing.assert_allclose(alone_N, lift_BN[b], rtol=1e-12)


def test_a_mixture_of_softmaxes() -> None:
    """With theta = beta = 1 and alpha = 0 the softmax becomes the sum of softmax and mass."""
    scores_N = np.asarray([0.3, -1.0, 2.0], dtype=np.float32)
    mass_M = np.asarray([0.5, 0.0, 0.25], dtype=np.float32)
    pooling = PoolingSpec(rank=(1.0,), alpha=(0.0, 0.0), beta=(1.0, 1.0), theta=1.0)
    chance_N = np.exp(scores_N) / np.exp(scores_N).sum()
    expected = np.log(chance_N + mass_M) + log_total(scores_N)
    np.testing.assert_allclose(pooled(scores_N, mass_M, 1, pooling), expected, rtol=1e-6)


@pytest.mark.parametrize("rows", [[], [3], [3, 999, 5], [7, 1000, 1, 0]])
def test_few_edges_in_a_large_catalogue(rows: list[int]) -> None:
    """However the edges are summed, the scores are the same; items without edges among them."""
    rng = np.random.default_rng(2)
    strength_MM = np.zeros((1000, 1000), dtype=np.float32)
    strength_MM[:10, rng.choice(1000, 12, replace=False)] = rng.random((10, 12))
    pooling = PoolingSpec(rank=(1.0, 0.5), alpha=(0.0, 1.0), beta=(1.0, 0.5), theta=0.7)
    scores_N = rng.normal(size=1002).astype(np.float32)
    weight_S = np.arange(1.0, len(rows) + 1, dtype=np.float32)
    case = Case(WorldKernel(strength_MM, pooling), scores_N, np.asarray(rows, int), weight_S)
    served_N = scores_N.copy()
    add_kernel(served_N, Kernel(case.kernel.edges, pooling), case.support_S, weight_S)
    np.testing.assert_allclose(case.served(), served_N, rtol=1e-6)
    assert np.count_nonzero(served_N != scores_N) == (12 if rows else 0)


def test_many_items_sum_as_few() -> None:
    """The total over more items than are summed at a time is that of all of them."""
    scores_M = np.random.default_rng(0).normal(size=100_003).astype(np.float32) * 3
    expected = np.log(np.exp(scores_M.astype(np.float64)).sum())
    assert log_total(scores_M) == pytest.approx(expected, rel=1e-6)
