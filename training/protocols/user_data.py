"""What methods that rank for new users are given, and facts that every result states.

Knows nothing of any protocol's rule for who is held out: it is told the users.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.datasets import Dataset, encode, fit_schema
from training.errors import DataError, SettingError
from training.low_ratings import LowRatings
from training.methods import (
    VIEWS,
    ColdUserData,
    Method,
    measure,
    rated_scorer,
    validation_users,
)
from training.tasks import Histories, automatic_window

SUPPORT_SIZES = (0, 1, 2, 3, 5, 10, 20)


def support_sizes(window: int) -> tuple[int, ...]:
    """The reported support sizes up to the window, the window itself included."""
    return tuple(sorted({n for n in SUPPORT_SIZES if n <= window} | {window}))


def parse_window(text: str) -> int | None:
    """Read `auto` (None) or a number.

    Raises:
        SettingError: it is neither, or below 1.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SettingError(f"--window is {text!r}; it must be auto or a number from 1 on")
    return int(text)


def chosen_window(text: str, histories: Histories) -> int:
    """The largest support: as asked, or by the data where `auto` is asked.

    Raises:
        SettingError: see `parse_window`.
    """
    asked = parse_window(text)
    return automatic_window(histories.lengths_U) if asked is None else asked


def method_data(
    dataset: Dataset,
    histories: Histories,
    train: NDArray[np.integer],
    validation: NDArray[np.integer],
    seed: int,
    window: int,
    low: LowRatings | None = None,
) -> tuple[ColdUserData, csr_matrix]:
    """What methods may learn from, and the encoded features of all users by code.

    Feature statistics come from training users, and from items with a training positive, alone.

    Args:
        dataset: for its features.
        histories: of every user of the data set; only those below are given.
        train: user codes.
        validation: user codes.
        seed: for methods that draw at random.
        window: largest support.
        low: what every user of the data set rated low; None: supports hold positives alone.
    """
    train_histories = histories.take(train)
    candidates_N = train_histories.counts() > 0
    config = dataset.config
    user_schema = fit_schema(dataset.users, config.user_columns, _mask(train, dataset.n_users))
    item_schema = fit_schema(dataset.items, config.item_columns, candidates_N)
    features = encode(dataset.users, user_schema, dataset.n_users)
    data = ColdUserData(
        train=train_histories,
        train_features=features[train],
        validation=histories.take(validation),
        validation_features=features[validation],
        window=window,
        sizes=support_sizes(window),
        candidates_N=candidates_N,
        item_features=encode(dataset.items, item_schema, dataset.n_items),
        seed=seed,
        train_low=None if low is None else low.take(train),
        validation_low=None if low is None else low.take(validation),
    )
    return data, features


def validation_figures(name: str, method: Method, data: ColdUserData) -> NDArray[np.float64]:
    """Mean masked nDCG@10 on validation users by support size, (n,)."""
    users, rated = validation_users(data), rated_scorer(method)
    figures = [
        measure(name, method.score, users, data.candidates_N, n, VIEWS[:1], rated)[0, :, 0]
        for n in data.sizes
    ]
    return np.array([figures_U.mean() for figures_U in figures])


def check_disjoint(dataset: Dataset, *parts: NDArray[np.integer]) -> None:
    """Refuse a split in which a user takes part twice.

    Raises:
        DataError: names such a user.
    """
    everyone = np.concatenate(parts)
    codes, times = np.unique(everyone, return_counts=True)
    if len(codes) < len(everyone):
        planted = dataset.user_ids[int(codes[times > 1][0])]
        raise DataError(
            f"{dataset.name}: user {planted!r} and {np.count_nonzero(times > 1) - 1} more are in "
            "two parts of the split, so test users would leak into training; split by user"
        )


def _mask(codes: NDArray[np.integer], size: int) -> NDArray[np.bool_]:
    mask = np.zeros(size, dtype=np.bool_)
    mask[codes] = True
    return mask


def dataset_facts(dataset: Dataset, histories: Histories) -> dict[str, Any]:
    """What a result says of its data set."""
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": len(dataset.interactions),
        "positives": len(histories.item_E),
        "positive_rule": str(dataset.config.rules.positive or "every interaction"),
    }
