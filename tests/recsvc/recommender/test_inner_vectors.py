"""Lists of a bundle whose inner loop sees trained items by vectors of their own."""

from pathlib import Path

import pytest

from recsvc.bundle import load_bundle
from recsvc.recommender import Query, SessionEvent
from recsvc.recommender.model import ServingModel
from recsvc.telemetry import Metrics
from tests.recsvc.bundles import BLACK, WHITE, write_world


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServingModel:
    directory: Path = tmp_path_factory.mktemp("world")
    write_world(directory, "v1", swapped=True)
    model = ServingModel(load_bundle(directory), Metrics())
    model.apply({"new": {"colour": "black"}})
    return model


def first(model: ServingModel, liked: str) -> str:
    """The best item for a new user who liked one."""
    view = model.view([SessionEvent(liked)])
    rows, _ = model.rank(Query(k=1), view, model.adapt(model.prior({}), view))
    return model.catalogue.ids[int(rows[0])]


def test_a_liked_item_speaks_by_its_inner_vector(model: ServingModel) -> None:
    """Here it points to the other colour, and the list follows it."""
    assert first(model, BLACK[0]) == WHITE[0]
    assert first(model, WHITE[0]) == "new"


def test_an_added_item_speaks_by_the_vector_it_is_scored_by(model: ServingModel) -> None:
    """Training never saw it, so there is no other."""
    assert first(model, "new") == BLACK[0]


def test_reasons_follow_the_inner_vectors(model: ServingModel) -> None:
    """The black item is why the white one is listed."""
    view = model.view([SessionEvent(BLACK[0])])
    prior_D = model.prior({})
    rows, _ = model.rank(Query(k=1), view, model.adapt(prior_D, view))
    ((reason,),) = model.reasons(rows, view, prior_D, model.adapt(prior_D, view))
    assert reason.item_id == BLACK[0]
    assert reason.contribution > 0
