"""A data set of ratings split into warm and cold users and items, in four scenarios.

Knows nothing of predictors or of measuring.

For each seed a random fifth of the users with a rating are cold, and a fifth of the items with a
rating: in `ratings` a random fifth, in `ratings-new-items` the newest fifth by release year (a
numeric or datetime column of the items whose name says so, or a year that ends the title), ties at
random. All ratings between warm users and warm items are training data, apart from the queries of
the scenario "warm". A task is one user and one block of users and items: where the user rated 13 to
100 items of the block, its ratings there are shuffled, the last 10 are the query and the rest is
the support set. The blocks:

    user-cold   cold users, warm items
    item-cold   warm users, cold items: support and query alike are items without training ratings
    both        cold users, cold items
    warm        warm users, warm items: for a random fifth of the warm users that have a task; the
                query is not in training, the support is

In every scenario a predictor is told the user's features and the support set, nothing else of the
user: what a warm user rated among the warm items is no part of an item-cold task. Statistics,
vocabularies and parameters come from the training data. Settings are chosen by making the same
split once more inside the training data (by the same rule; cold users and items there are the
validation users and items), after which the predictor is trained on all of it. Test tasks are
looked at once.
"""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.datasets import Dataset
from training.errors import DataError
from training.ratings.content import blocks, with_years
from training.ratings.tasks import HeldOut, RatingData, RatingSplit, RatingTable, grouped

PROTOCOLS = ("ratings", "ratings-new-items")
SCENARIOS = ("user-cold", "item-cold", "both", "warm")

LEAST, MOST, QUERY = 13, 100, 10
COLD_SHARE = 0.2
WARM_SHARE = 0.2

_MOST_LEVELS = 24
_WIDEST = 20.0
_RELEASE = re.compile(r"year|release|date", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RatingSplits:
    """One seed: the split that is reported, and the same inside its training data for settings."""

    test: RatingSplit
    tuning: RatingSplit


def rating_table(dataset: Dataset) -> RatingTable:
    """The ratings of a data set, the last one where a user rated an item again.

    Raises:
        DataError: there are no ratings, or the values are not ratings.
    """
    rows = dataset.interactions
    if rows.value_E is None:
        raise DataError(
            f"{dataset.name}: interactions have no value column, so there is no rating to predict; "
            "give a column `rating`, or take --protocol cold-user"
        )
    given_E = ~np.isnan(rows.value_E)
    values = np.unique(rows.value_E[given_E])
    if not 2 <= len(values) <= _MOST_LEVELS or values[-1] - values[0] > _WIDEST:
        found = f"{len(values)} distinct values"
        if len(values):
            found += f" from {values[0]:g} to {values[-1]:g}"
        raise DataError(
            f"{dataset.name}: the values of interactions are not ratings: {found}; allowed are 2 "
            f"to {_MOST_LEVELS} distinct ones that span at most {_WIDEST:g}; bring them onto such "
            "a scale, or take --protocol cold-user"
        )
    pair_E = rows.user_E[given_E].astype(np.int64) * dataset.n_items + rows.item_E[given_E]
    last = len(pair_E) - 1 - np.unique(pair_E[::-1], return_index=True)[1]
    return RatingTable(
        rows.user_E[given_E][last].astype(np.int64),
        rows.item_E[given_E][last].astype(np.int64),
        rows.value_E[given_E][last].astype(np.float64),
    )


def split_ratings(dataset: Dataset, seed: int, protocol: str = PROTOCOLS[0]) -> RatingSplits:
    """Split a data set for one seed.

    Args:
        dataset: the data set, with ratings.
        seed: of both splits; predictors get it too.
        protocol: one of `PROTOCOLS`: how cold items are chosen.

    Raises:
        DataError: no ratings, no release year where one is needed, or too few ratings.
    """
    release_N = _release(dataset) if protocol == PROTOCOLS[1] else None
    rng = np.random.default_rng(seed)
    test = _split(dataset, rating_table(dataset), release_N, seed, rng)
    tuning = _split(dataset, test.data.ratings, release_N, seed, rng)
    for part, split in (("test", test), ("validation", tuning)):
        empty = [name for name in SCENARIOS if not len(split.scenarios[name])]
        if empty:
            raise DataError(
                f"{dataset.name}: no {part} user has {LEAST} to {MOST} ratings in the scenario "
                f"{empty[0]!r}, so it cannot be measured; give more data"
            )
    return RatingSplits(test, tuning)


def _release(dataset: Dataset) -> NDArray[np.float64]:
    """When each item came out, NaN where unknown, (N,).

    Raises:
        DataError: no column says so.
    """
    if dataset.items is not None:
        everyone = np.ones(len(dataset.items), dtype=np.bool_)
        frame, columns = with_years(dataset.items, dataset.config.item_columns, everyone)
        for name, config in columns.items():
            if config.kind in ("numeric", "datetime") and _RELEASE.search(name):
                release_N = frame[name].cast(pl.Float64, strict=False).to_numpy()
                if not np.isnan(release_N).all():
                    return np.array(release_N, dtype=np.float64)
    raise DataError(
        f"{dataset.name}: no numeric or datetime item column is named like a year or a date, and "
        "no text column ends in a year, so the newest items are unknown; take --protocol ratings"
    )


def _split(
    dataset: Dataset,
    table: RatingTable,
    release_N: NDArray[np.float64] | None,
    seed: int,
    rng: np.random.Generator,
) -> RatingSplit:
    """Hold cold users, cold items and warm queries out of some ratings."""
    cold_U = _random_share(np.unique(table.user_E), COLD_SHARE, dataset.n_users, rng)
    cold_N = _cold_items(np.unique(table.item_E), release_N, dataset.n_items, rng)
    user_E, item_E = cold_U[table.user_E], cold_N[table.item_E]
    scenarios = {
        name: grouped(table.where(keep_E), LEAST, MOST, QUERY, rng)[0]
        for name, keep_E in (
            ("user-cold", user_E & ~item_E),
            ("item-cold", ~user_E & item_E),
            ("both", user_E & item_E),
        )
    }
    train = table.where(~user_E & ~item_E)
    scenarios["warm"], asked_E = _warm(train, dataset.n_users, rng)
    train = train.where(~asked_E)
    warm_U = np.bincount(train.user_E, minlength=dataset.n_users) > 0
    warm_N = np.bincount(train.item_E, minlength=dataset.n_items) > 0
    config = dataset.config
    data = RatingData(
        train,
        blocks(dataset.users, config.user_columns, warm_U),
        blocks(dataset.items, config.item_columns, warm_N),
        seed,
    )
    return RatingSplit(data, scenarios)


def _random_share(
    codes: NDArray[np.integer], share: float, size: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    chosen = np.zeros(size, dtype=np.bool_)
    chosen[rng.permutation(codes)[: round(share * len(codes))]] = True
    return chosen


def _cold_items(
    codes: NDArray[np.integer],
    release_N: NDArray[np.float64] | None,
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """A random share, or the newest share: unknown ones are the oldest, ties at random."""
    if release_N is None:
        return _random_share(codes, COLD_SHARE, size, rng)
    shuffled = rng.permutation(codes)
    newest = np.argsort(-np.nan_to_num(release_N[shuffled], nan=-np.inf), kind="stable")
    chosen = np.zeros(size, dtype=np.bool_)
    chosen[shuffled[newest[: round(COLD_SHARE * len(codes))]]] = True
    return chosen


def _warm(
    train: RatingTable, n_users: int, rng: np.random.Generator
) -> tuple[HeldOut, NDArray[np.bool_]]:
    """Tasks of a share of the warm users, and which training ratings they ask about."""
    users, count = np.unique(train.user_E, return_counts=True)
    fit = users[(count >= LEAST) & (count <= MOST)]
    chosen_U = _random_share(fit, WARM_SHARE, n_users, rng)
    rows = np.flatnonzero(chosen_U[train.user_E])
    tasks, asked = grouped(train.where(chosen_U[train.user_E]), LEAST, MOST, QUERY, rng)
    asked_E = np.zeros(len(train), dtype=np.bool_)
    asked_E[rows[asked]] = True
    return tasks, asked_E
