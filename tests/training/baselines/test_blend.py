"""The blend of a family with its priors, and the search for settings."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tests.training.worlds import GROUP, checkerboard_data
from training.baselines.blend import Blended, fitted_priors, standardised
from training.baselines.ease import EASE
from training.baselines.ials import IALS
from training.baselines.item_knn import ItemKNN
from training.baselines.pure_svd import PureSVD
from training.baselines.search import search
from training.methods import ColdUserData, ScoreError, measure, validation_users


class FewSettings:
    """A family of one parameter: 1 knows the taste, 0 says nothing, -1 breaks."""

    name = "few"
    axes: Mapping[str, Sequence[float]] = {"knowledge": (0.0, 1.0)}
    starts: Sequence[Mapping[str, float]] = ({"knowledge": 0.0},)

    def fit(self, data: ColdUserData, settings: Any) -> Any:
        def fold_in(support_BS: NDArray[np.int32]) -> NDArray[np.float32]:
            own = (np.arange(2 * GROUP) < GROUP) == (support_BS[:, :1] < GROUP)
            scores_BN: NDArray[np.float32] = (own * settings["knowledge"]).astype(np.float32)
            return scores_BN

        return fold_in


class Broken(FewSettings):
    name = "broken"

    def fit(self, data: ColdUserData, settings: Any) -> Any:
        return lambda support_BS: np.full((len(support_BS), 2 * GROUP), np.nan, np.float32)


def test_search_climbs_to_the_summit() -> None:
    """On a function with one summit the search ends there without visiting the whole grid."""
    axes = {"x": [float(v) for v in range(20)], "y": [float(v) for v in range(20)]}
    best, visited = search(
        axes, [{"x": 0.0, "y": 19.0}], lambda s: -((s["x"] - 12) ** 2) - (s["y"] - 5) ** 2
    )
    assert best == {"x": 12.0, "y": 5.0}
    assert visited < 60


def test_search_begins_at_the_best_start() -> None:
    """Of two summits the one whose start is higher is climbed."""
    figures = [3.0, 1.0, 0.0, 4.0, 9.0]
    axes = {"x": [0.0, 1.0, 2.0, 3.0, 4.0]}
    best, _ = search(axes, [{"x": 0.0}, {"x": 3.0}], lambda s: figures[int(s["x"])])
    assert best == {"x": 4.0}


def test_search_asks_for_each_point_once() -> None:
    """The figure is costly: no point is visited twice."""
    asked: list[tuple[float, ...]] = []

    def figure(settings: dict[str, float]) -> float:
        asked.append(tuple(settings.values()))
        return -settings["x"] * settings["y"]

    search({"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0]}, [{"x": 2.0, "y": 2.0}], figure, sweeps=5)
    assert len(set(asked)) == len(asked)


def test_standardised_scores_have_no_scale() -> None:
    """Mean 0 and deviation 1 over the candidates; equal scores become zeros."""
    scores = np.array([[1.0, 3.0, 99.0], [2.0, 2.0, 5.0]], dtype=np.float32)
    z = standardised(scores, np.array([True, True, False]))
    assert z[:, :2].tolist() == [[-1.0, 1.0], [0.0, 0.0]]


def test_blend_finds_the_better_settings() -> None:
    """Validation users choose the settings under which the family knows the taste."""
    method = Blended(FewSettings())
    method.fit(checkerboard_data())
    assert method.settings()["knowledge"] == 1.0


def test_blend_at_n_0_is_the_prior_that_knows_most() -> None:
    """Without a support the scores are those of a prior."""
    data = checkerboard_data()
    method = Blended(FewSettings())
    method.fit(data)
    support = np.empty((3, 0), dtype=np.int32)
    scores = method.score(support, data.validation_features[:3], 0)
    priors = {p.name: p for p in fitted_priors(data)}
    chosen = priors[method.settings()["prior"]["0"]]
    assert np.array_equal(scores, chosen.score(support, data.validation_features[:3], 0))


def test_priors_use_user_features_where_there_are_any() -> None:
    """DemoPop joins the priors only when it can differ from late popularity."""
    data = checkerboard_data()
    assert [p.name for p in fitted_priors(data)] == ["popularity", "late-popularity"]
    wide = csr_matrix(np.random.default_rng(0).random((220, 3)).astype(np.float32))
    featured = replace(data, train_features=wide[:200], validation_features=wide[200:])
    assert fitted_priors(featured)[-1].name == "demo-pop"


def test_broken_scores_stop_the_tuning() -> None:
    """NaN from a family names it while its settings are searched."""
    with pytest.raises(ScoreError, match="method 'broken'"):
        Blended(Broken()).fit(checkerboard_data())


@pytest.mark.parametrize("family", [EASE, IALS, ItemKNN, PureSVD])
class TestEveryFamily:
    """What holds for all fold-in baselines."""

    @pytest.fixture
    def data(self) -> ColdUserData:
        return checkerboard_data()

    @pytest.fixture
    def method(self, family: Any, data: ColdUserData) -> Blended:
        method = Blended(family())
        method.fit(data)
        return method

    def test_one_item_beats_the_prior(self, method: Blended, data: ColdUserData) -> None:
        """On the checkerboard one item tells which half of the items to leave out."""
        users = validation_users(data)
        before, after = (
            measure(method.name, method.score, users, data.candidates_N, n)[0, :, 0].mean()
            for n in (0, 1)
        )
        assert after > 1.5 * before

    def test_a_batch_equals_its_singles_and_padding_is_nothing(
        self, method: Blended, data: ColdUserData
    ) -> None:
        """Scores depend on the user's own items alone, however they are batched or padded."""
        support = np.array([[1, 5], [22, 38], [7, 9]], dtype=np.int32)
        features = data.validation_features[:3]
        batch = method.score(support, features, 2)
        padded = np.hstack([support, np.full((3, 2), -1, np.int32)])
        assert method.score(padded, features, 2) == pytest.approx(batch, abs=1e-4)
        for row in range(3):
            single = method.score(support[row : row + 1], features[row : row + 1], 2)
            assert single[0] == pytest.approx(batch[row], abs=1e-4)

    def test_fitting_twice_gives_the_same(
        self, method: Blended, family: Any, data: ColdUserData
    ) -> None:
        """Nothing but the data's seed moves a baseline."""
        again = Blended(family())
        again.fit(data)
        support = np.array([[1, 5, 2]], dtype=np.int32)
        features = data.validation_features[:1]
        assert again.settings() == method.settings()
        assert np.array_equal(again.score(support, features, 3), method.score(support, features, 3))
