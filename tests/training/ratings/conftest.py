"""One split of the small world of ratings for all predictors."""

import pytest

from tests.training.ratings.worlds import rating_world
from training.protocols.rating_split import RatingSplits, split_ratings


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> RatingSplits:
    return split_ratings(rating_world(tmp_path_factory.mktemp("ratings") / "world"), 0)


@pytest.fixture(scope="session")
def permuted(tmp_path_factory: pytest.TempPathFactory) -> RatingSplits:
    """The same users and items with ratings that belong to nobody."""
    directory = tmp_path_factory.mktemp("ratings") / "permuted"
    return split_ratings(rating_world(directory, permuted=True), 0)
