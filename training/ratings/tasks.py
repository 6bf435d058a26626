"""Rating tasks, and what every rating predictor is given and gives back.

Knows nothing of how users and items were split, nor of any predictor.

Shape legend: E ratings, B tasks, S support rows, Q query rows, U users, N items, F positions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.ratings.content import Blocks
from training.tasks import PADDING


@dataclass(frozen=True, slots=True)
class RatingTable:
    """Ratings as columns of E rows, each user and item once."""

    user_E: NDArray[np.int64]
    item_E: NDArray[np.int64]
    rating_E: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.user_E)

    def where(self, keep_E: NDArray[np.bool_]) -> "RatingTable":
        """Some of the ratings."""
        return RatingTable(self.user_E[keep_E], self.item_E[keep_E], self.rating_E[keep_E])


@dataclass(frozen=True, slots=True)
class RatingTasks:
    """Tasks to predict for: the rated items of a support set, and the items that are asked about.

    The ratings of the query are not in here.
    """

    user_B: NDArray[np.int64]
    """User codes, for features alone."""
    support_item_BS: NDArray[np.int64]
    """Item codes, `PADDING` behind."""
    support_rating_BS: NDArray[np.float64]
    """0 where there is padding."""
    query_item_BQ: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user_B)

    @property
    def given_BS(self) -> NDArray[np.bool_]:
        """Where the support holds a rating."""
        given_BS: NDArray[np.bool_] = self.support_item_BS != PADDING
        return given_BS

    def take(self, rows: NDArray[np.integer]) -> "RatingTasks":
        """Some of the tasks, their support cut to the longest among them."""
        given_BS = self.support_item_BS[rows] != PADDING
        width = max(int(given_BS.sum(axis=1).max(initial=0)), 1)
        return RatingTasks(
            self.user_B[rows],
            self.support_item_BS[rows, :width],
            self.support_rating_BS[rows, :width],
            self.query_item_BQ[rows],
        )


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Tasks and the answers."""

    tasks: RatingTasks
    rating_BQ: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.tasks)

    def take(self, rows: NDArray[np.integer]) -> "HeldOut":
        """Some of the tasks."""
        return HeldOut(self.tasks.take(rows), self.rating_BQ[rows])

    def evenly(self, most: int) -> "HeldOut":
        """At most so many tasks, spread evenly: user codes may tell when users joined."""
        size = min(most, len(self))
        return self.take(np.linspace(0, len(self) - 1, size).round().astype(np.int64))


@dataclass(frozen=True, slots=True)
class RatingData:
    """All that a predictor may learn from. Codes are those of the whole data set.

    A user or item that is held out has no row in `ratings`; feature statistics do not know it.
    """

    ratings: RatingTable
    users: Blocks
    """Encoded features of all users."""
    items: Blocks
    """Encoded content of all items."""
    seed: int

    @property
    def n_users(self) -> int:
        return self.users.n_rows

    @property
    def n_items(self) -> int:
        return self.items.n_rows

    @property
    def counts_N(self) -> NDArray[np.int64]:
        """Training ratings of every item."""
        return np.bincount(self.ratings.item_E, minlength=self.n_items)


@dataclass(frozen=True, slots=True)
class RatingSplit:
    """Training data with tasks that are held out from it, by scenario."""

    data: RatingData
    scenarios: Mapping[str, HeldOut]


REGIMES = ("warm", "cold")
"""Whether the items that are asked about have training ratings. Settings may differ."""

TUNING_TASKS = 600
"""Tasks of a scenario that settings are chosen on, at most."""

COLD_SCENARIOS = ("item-cold", "both")
"""The scenarios whose items are cold."""


Predict = Callable[[RatingTasks], NDArray[np.float64]]
"""Predicted ratings, (B, Q), no NaN; the items asked about are all warm or all cold."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Settings, and what was trained with them on the tuning split's data."""

    settings: dict[str, Any]
    """By regime or for all, in JSON's types."""
    predict: Predict


class RatingPredictor(Protocol):
    """Anything that predicts ratings for a user from the ratings of a few items."""

    name: str

    def choose(self, tuning: RatingSplit) -> Chosen:
        """Choose settings: train on `tuning.data`, measure on its tasks.

        Args:
            tuning: the training data split once more.
        """

    def train(self, data: RatingData, settings: Mapping[str, Any]) -> Predict:
        """Train with the settings chosen."""


def regime(tasks: RatingTasks, counts_N: NDArray[np.integer]) -> str:
    """The regime of tasks: `cold` where no item that is asked about has a training rating."""
    return "warm" if counts_N[tasks.query_item_BQ].any() else "cold"


def by_regime(models: Mapping[str, Predict], counts_N: NDArray[np.integer]) -> Predict:
    """One predictor of several, by the regime of the tasks."""
    return lambda tasks: models[regime(tasks, counts_N)](tasks)


def tuning_tasks(split: RatingSplit, name: str) -> list[HeldOut]:
    """The tasks that settings of a regime are chosen on.

    Users are cold in both; tasks with warm users join where the items are cold, because cold users
    with enough cold items are few.
    """
    wanted = COLD_SCENARIOS if name == "cold" else ("user-cold",)
    found = [split.scenarios[s] for s in wanted if len(split.scenarios[s])]
    return [held.evenly(TUNING_TASKS) for held in found]


def mean_error(predict: Predict, tasks: Sequence[HeldOut]) -> float:
    """Mean absolute error, each set of tasks with equal weight."""
    return float(np.mean([np.abs(predict(held.tasks) - held.rating_BQ).mean() for held in tasks]))


def grouped(
    table: RatingTable, least: int, most: int, query: int, rng: np.random.Generator
) -> tuple[HeldOut, NDArray[np.int64]]:
    """One task for each user with `least` .. `most` ratings: the last `query` of a shuffle asked.

    Args:
        table: the ratings that tasks are made of.
        least: ratings a user must have; above `query`.
        most: ratings a user may have.
        query: ratings that are asked about.
        rng: source of the shuffle.

    Returns:
        The tasks by ascending user code, and the rows of `table` that are asked about.
    """
    order = rng.permutation(len(table))
    order = order[np.argsort(table.user_E[order], kind="stable")]
    users, start, count = np.unique(table.user_E[order], return_index=True, return_counts=True)
    kept = (count >= least) & (count <= most)
    users, start, count = users[kept], start[kept], count[kept]
    width = int(count.max(initial=query + 1)) - query
    column_S = np.arange(width)
    given_BS = column_S < (count - query)[:, None]
    place_BS = np.where(given_BS, start[:, None] + column_S, 0)
    asked_BQ = order[(start + count - query)[:, None] + np.arange(query)]
    support_BS = order[place_BS] if len(users) else np.zeros((0, width), dtype=np.int64)
    rating_BS: NDArray[np.float64] = np.where(given_BS, table.rating_E[support_BS], 0.0)
    tasks = RatingTasks(
        users,
        np.where(given_BS, table.item_E[support_BS], PADDING),
        rating_BS,
        table.item_E[asked_BQ],
    )
    return HeldOut(tasks, table.rating_E[asked_BQ]), asked_BQ.ravel()


def episodes(
    table: RatingTable, least: int, most: int, query: int, rng: np.random.Generator
) -> HeldOut:
    """One training task for each user with `least` ratings: a random part of at most `most`."""
    order = np.lexsort((rng.random(len(table)), table.user_E))
    _, row_E, count_U = np.unique(table.user_E[order], return_inverse=True, return_counts=True)
    place_E = np.arange(len(order)) - (np.cumsum(count_U) - count_U)[row_E]
    kept_E = np.zeros(len(table), dtype=np.bool_)
    kept_E[order[place_E < most]] = True
    return grouped(table.where(kept_E), least, most, query, rng)[0]
