"""What every evaluated method is given and gives back, and how its lists are measured.

Knows nothing of how users were split, nor of any method. Our own model and every baseline go
through this one door, so that all are tuned and measured alike.

Shape legend: B users of a block, U cold users, W window, S support rows, N items, F feature
positions, M metrics, V views.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.errors import TrainingError
from training.low_ratings import LowRatings
from training.metrics import METRICS, user_metrics
from training.tasks import PADDING, Histories

VIEWS = ("masked", "literal")
"""masked: the whole window is removed from the candidates. literal: the support alone."""

Score = Callable[[NDArray[np.int32], csr_matrix, int], NDArray[np.float32]]
"""(support_BS, features_BF, n) -> scores_BN, as `Method.score`."""

ScoreRated = Callable[
    [NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], csr_matrix, int],
    NDArray[np.float32],
]
"""(support_BS, low_BL, value_BL, features_BF, n) -> scores_BN, as `RatedMethod.score_rated`."""

_BLOCK_CELLS = 4_000_000


class ScoreError(TrainingError):
    """A method gave scores that cannot be ranked."""


@dataclass(frozen=True, slots=True)
class ColdUserData:
    """All that a method may learn from: training users, and validation users for its settings.

    Test users are not in here. Item codes are those of the whole data set.
    """

    train: Histories
    train_features: csr_matrix
    """(U, F) encoded features of the training users; the intercept alone where there are none."""
    validation: Histories
    """For tuning and early stopping, never for fitting parameters."""
    validation_features: csr_matrix
    window: int
    """Largest support; the query begins after it."""
    sizes: tuple[int, ...]
    """Support sizes n that are reported, ascending, 0 .. window."""
    candidates_N: NDArray[np.bool_]
    """Items with a training positive."""
    item_features: csr_matrix | None
    """(N, F') encoded item features."""
    seed: int
    train_low: LowRatings | None = None
    """What training users rated low; None where supports hold positives alone."""
    validation_low: LowRatings | None = None

    @property
    def n_items(self) -> int:
        return self.train.n_items

    @property
    def has_user_features(self) -> bool:
        """Whether the encoded features hold more than the intercept."""
        return bool(self.train_features.shape[1] > 1)


class Method(Protocol):
    """Anything that ranks the catalogue for a user from a few interactions."""

    name: str

    def fit(self, data: ColdUserData) -> None:
        """Train on `data.train`; choose every setting on `data.validation`."""

    def score(
        self, support_BS: NDArray[np.int32], features: csr_matrix, n: int
    ) -> NDArray[np.float32]:
        """Scores of all items for B users.

        Args:
            support_BS: item codes, oldest first, -1 as padding; (B, 0) at n = 0.
            features: (B, F) encoded user features.
            n: support size of these users.

        Returns:
            (B, N), higher is better, no NaN; the caller removes what is no candidate.
        """

    def settings(self) -> dict[str, Any]:
        """What `fit` chose, in JSON's types."""


@runtime_checkable
class RatedMethod(Protocol):
    """A `Method` that also makes use of what a user rated low."""

    def score_rated(
        self,
        support_BS: NDArray[np.int32],
        low_BL: NDArray[np.int32],
        value_BL: NDArray[np.float32],
        features: csr_matrix,
        n: int,
    ) -> NDArray[np.float32]:
        """As `Method.score`.

        Args:
            support_BS: the n positives.
            low_BL: items rated low before the n-th positive, oldest first, -1 as padding.
            value_BL: their values.
            features: (B, F) encoded user features.
            n: positives in the support.
        """


@dataclass(frozen=True, slots=True)
class ColdUsers:
    """Users to be ranked for: a full window each, then the query."""

    window_UW: NDArray[np.int32]
    """The first `window` positives, oldest first."""
    query: Histories
    """The candidates among the positives after the window; at least one a user."""
    features: csr_matrix
    """(U, F)."""
    low: LowRatings | None = None
    """What they rated low; None where supports hold positives alone."""

    @property
    def n_users(self) -> int:
        return len(self.window_UW)

    def head(self, limit: int) -> "ColdUsers":
        """The first `limit` users."""
        rows = np.arange(min(limit, self.n_users))
        low = None if self.low is None else self.low.take(rows)
        return ColdUsers(self.window_UW[rows], self.query.take(rows), self.features[rows], low)


def minimum_positives(window: int) -> int:
    """Positives that a user needs to be measured: 25 for a window of 20, 5 for one of 3."""
    return window + max(2, window // 4)


def cold_users(
    histories: Histories,
    features: csr_matrix,
    window: int,
    candidates_N: NDArray[np.bool_],
    low: LowRatings | None = None,
) -> ColdUsers:
    """The users with enough positives for a window and a query.

    Query items without a training positive are left out of the query: nobody could recommend them
    from interactions, and all methods are measured alike. A user whose query is empty then is
    left out altogether.
    """
    users = measurable_users(histories, window, candidates_N)
    query = _late_candidates(histories, window, candidates_N).take(users)
    return ColdUsers(
        histories.take(users).padded(window),
        query,
        features[users],
        None if low is None else low.take(users),
    )


def measurable_users(
    histories: Histories, window: int, candidates_N: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Rows of the users that `cold_users` keeps."""
    found_U = _late_candidates(histories, window, candidates_N).lengths_U
    return np.flatnonzero((histories.lengths_U >= minimum_positives(window)) & (found_U > 0))


def _late_candidates(
    histories: Histories, window: int, candidates_N: NDArray[np.bool_]
) -> Histories:
    lengths_U = histories.lengths_U
    return among(histories.prefix(np.full_like(lengths_U, window), lengths_U), candidates_N)


def among(histories: Histories, candidates_N: NDArray[np.bool_]) -> Histories:
    """The candidates among everyone's items."""
    known_E = candidates_N[histories.item_E]
    found_U = np.bincount(histories.user_E[known_E], minlength=histories.n_users)
    indptr = np.concatenate([[0], np.cumsum(found_U)]).astype(np.int64)
    return Histories(indptr, histories.item_E[known_E], histories.n_items)


def validation_users(data: ColdUserData, limit: int | None = None) -> ColdUsers:
    """The validation users as cold users, the first `limit` of them."""
    users = cold_users(
        data.validation,
        data.validation_features,
        data.window,
        data.candidates_N,
        data.validation_low,
    )
    return users if limit is None else users.head(limit)


def user_blocks(users: ColdUsers) -> Iterator[NDArray[np.int64]]:
    """Rows of users in blocks small enough for a dense (B, N) matrix."""
    size = int(np.clip(_BLOCK_CELLS // max(users.query.n_items, 1), 1, 1024))
    for start in range(0, users.n_users, size):
        yield np.arange(start, min(start + size, users.n_users))


def excluded_items(
    users: ColdUsers, rows: NDArray[np.integer], n: int, candidates_N: NDArray[np.bool_], view: str
) -> NDArray[np.bool_]:
    """(B, N), True where an item is no candidate of a user at support size n.

    What was rated low by then has been seen, and is no candidate either.
    """
    removed = users.window_UW.shape[1] if view == "masked" else n
    excluded_BN = np.repeat(~candidates_N[None, :], len(rows), axis=0)
    excluded_BN[np.arange(len(rows))[:, None], users.window_UW[rows, :removed]] = True
    if users.low is not None:
        low_BL, _ = users.low.take(rows).before(removed)
        at, column = np.nonzero(low_BL != PADDING)
        excluded_BN[at, low_BL[at, column]] = True
    return excluded_BN


def relevant_items(users: ColdUsers, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(B, N), True where an item is in the user's query."""
    query = users.query.take(rows)
    relevant_BN = np.zeros((len(rows), query.n_items), dtype=np.bool_)
    relevant_BN[query.user_E, query.item_E] = True
    return relevant_BN


def measure(
    name: str,
    score: Score,
    users: ColdUsers,
    candidates_N: NDArray[np.bool_],
    n: int,
    views: Sequence[str] = VIEWS,
    score_rated: ScoreRated | None = None,
) -> NDArray[np.float64]:
    """Metrics of every user at one support size, (V, U, M).

    Args:
        name: the method, for messages.
        score: its scoring function.
        users: whom to rank for.
        candidates_N: items with a training positive.
        n: support size, 0 .. window.
        views: which of `VIEWS`.
        score_rated: used instead of `score` where the users' low ratings are known.

    Raises:
        ScoreError: the scores have a wrong shape or hold NaN; the message names the method.
    """
    figures_VUM = np.empty((len(views), users.n_users, len(METRICS)))
    for rows in user_blocks(users):
        support_BS, features = users.window_UW[rows, :n], users.features[rows]
        if score_rated is None or users.low is None:
            scores_BN = score(support_BS, features, n)
        else:
            low = users.low.take(rows).before(n)
            scores_BN = score_rated(support_BS, *low, features, n)
        check_scores(name, scores_BN, (len(rows), len(candidates_N)), n)
        relevant_BN = relevant_items(users, rows)
        for v, view in enumerate(views):
            excluded_BN = excluded_items(users, rows, n, candidates_N, view)
            figures_VUM[v, rows] = user_metrics(scores_BN, excluded_BN, relevant_BN)
    return figures_VUM


def rated_scorer(method: Method) -> ScoreRated | None:
    """How the method scores with low ratings; None where it ignores them."""
    return method.score_rated if isinstance(method, RatedMethod) else None


def check_scores(
    name: str, scores_BN: NDArray[np.floating], expected: tuple[int, int], n: int
) -> None:
    """Refuse scores that cannot be ranked.

    Raises:
        ScoreError: wrong shape, or NaN.
    """
    if scores_BN.shape != expected:
        raise ScoreError(
            f"method {name!r} at n={n}: scores of shape {scores_BN.shape} instead of {expected}; "
            "`score` must return one row a user and one column an item of the data set"
        )
    bad = np.count_nonzero(np.isnan(scores_BN))
    if bad:
        raise ScoreError(
            f"method {name!r} at n={n}: {bad} of {scores_BN.size} scores are NaN; "
            "its training diverged, or it divides by a zero norm"
        )
