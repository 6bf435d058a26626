"""What is measured for cold items: three views of one ranking, known answers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.items.task import ColdItemTask, ItemSupports, measure, quality
from training.methods import ScoreError
from training.tasks import from_pairs

# Items 0..3 are warm, 4 and 5 cold. User 0 has seen 0; their query is 1 (warm) and 4 (cold).
SUPPORTS = ItemSupports(
    np.array([4, 5]),
    np.array([[1, 2], [2, -1]], dtype=np.int32),
    np.array([[10.0, 30.0], [20.0, 20.0]], dtype=np.float32),
)
TASK = ColdItemTask(
    SUPPORTS,
    np.array([0]),
    from_pairs(np.array([0]), np.array([0]), 1, 6),
    from_pairs(np.array([0, 0]), np.array([1, 4]), 1, 6),
    np.ones(6, np.bool_),
)


def scores(*values: float) -> NDArray[np.float64]:
    def rank(users_B: NDArray[np.integer]) -> NDArray[np.float32]:
        return np.tile(np.array(values, np.float32), (len(users_B), 1))

    return measure("fixed", rank, TASK, 0)


def test_the_right_order_is_perfect_in_every_view() -> None:
    """Relevant items first gives 1 where all relevant ones count; a seen item takes no part."""
    figures = scores(9, 5, 0, 0, 6, 1)
    assert figures[0, 0, 0] == pytest.approx(1.0)
    assert figures[1, 0, 0] == pytest.approx(1.0)
    assert figures[2, 0, 0] == pytest.approx(1.0)


def test_cold_hits_are_found_among_all_items() -> None:
    """The cold item at rank three: discounted over all items, first among the cold ones."""
    figures = scores(9, 5, 4, 0, 3, 1)
    assert figures[1, 0, 0] == pytest.approx(1.0 / np.log2(4))
    assert figures[2, 0, 0] == pytest.approx(1.0)
    assert quality(figures) == pytest.approx((figures[0, 0, 0] + 1.0) / 2)


def test_scores_of_a_wrong_shape_are_refused() -> None:
    """One score an item of the data set."""
    with pytest.raises(ScoreError, match="fixed"):
        scores(1, 2, 3)


def test_exposure_counts_from_either_end() -> None:
    """Visits up to the last row, since the data's start or since the item's first interaction."""
    assert SUPPORTS.exposure("start", 100.0).tolist() == pytest.approx([0.3, 0.2])
    assert SUPPORTS.exposure("first", 100.0).tolist() == pytest.approx([0.2, 0.0])
    assert SUPPORTS.head(0).exposure("start", 100.0).tolist() == [0.0, 0.0]


def test_supports_are_cut_and_counted() -> None:
    """A head of one row; padding is no row."""
    assert SUPPORTS.sizes_I.tolist() == [2, 1]
    assert SUPPORTS.head(1).users_IS.tolist() == [[1], [2]]
    assert SUPPORTS.take(np.array([1])).items_I.tolist() == [5]
