"""A data set split at one time: what lies before it is learned from, what lies after it is asked.

Knows nothing of methods or of measuring.

One global cut. Methods are fitted to what users did before it, and choose their settings on a
random eighth of those users, who are then left out of the test. Two groups are ranked for:

- *new* users, whose first interaction of all is after the cut, measured as in `cold_user`: their
  first n positives are the support, what follows the window is the query;
- *known* users, whose last n positives before the cut are the support and whose positives after
  it are the query. What they took before the cut is no candidate.

The cut does not depend on the seed, so seeds share their test users and are averaged user by user.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.datasets import Dataset
from training.errors import DataError, SettingError
from training.methods import (
    ColdUserData,
    ColdUsers,
    among,
    cold_users,
    measurable_users,
    minimum_positives,
    validation_users,
)
from training.protocols.user_data import check_disjoint, method_data
from training.tasks import Histories, positives, split_users

DEFAULT_CUT = 0.8
"""Share of the interactions that lies before the cut where none is given."""
_VALIDATION_SHARE = 1 / 8


@dataclass(frozen=True, slots=True)
class KnownUsers:
    """Users with a past, and what they took after the cut."""

    past: Histories
    """Their positives before the cut."""
    query: Histories
    """The candidates among their positives after the cut; maybe none."""
    features: csr_matrix

    @property
    def n_users(self) -> int:
        return self.past.n_users


@dataclass(frozen=True)
class TimeSplit:
    """What methods may learn from before the cut, and whom they are tested on after it."""

    data: ColdUserData
    new: ColdUsers
    new_codes: NDArray[np.integer]
    known: KnownUsers
    """Validation users have no query."""
    known_codes: NDArray[np.integer]
    n_users: int
    """Of the data set."""


def parse_cut(text: str, timestamp_E: NDArray[np.int64]) -> int:
    """The cut in milliseconds since 1970: a date, or the share of interactions before it.

    Args:
        text: `2000-12-02`, `2000-12-02T12:00:00Z`, or a number above 0 and below 1.
        timestamp_E: of all interactions.

    Raises:
        SettingError: it is neither, or leaves one side without interactions.
    """
    try:
        share = float(text)
    except ValueError:
        share = None
    try:
        if share is None:
            date = datetime.fromisoformat(text)
            date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
            cut_ms = int(date.timestamp() * 1000)
        else:
            cut_ms = int(np.quantile(timestamp_E, share))
    except ValueError as exc:
        raise SettingError(
            f"--cut is {text!r}; it must be a date such as 2000-12-02, or the share of "
            f"interactions before it, above 0 and below 1, such as {DEFAULT_CUT}"
        ) from exc
    if not timestamp_E.min() < cut_ms <= timestamp_E.max():
        raise SettingError(
            f"--cut {text} leaves no interactions on one side; the data set runs from "
            f"{date_text(timestamp_E.min())} to {date_text(timestamp_E.max())}"
        )
    return cut_ms


def date_text(time_ms: float) -> str:
    """A time in milliseconds since 1970 as ISO 8601, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def split_by_time(dataset: Dataset, cut_ms: int, seed: int, window: int) -> TimeSplit:
    """Split a data set at a time.

    Args:
        dataset: with timestamps.
        cut_ms: interactions from here on are never learned from.
        seed: chooses the validation users.
        window: largest support.

    Raises:
        DataError: no validation user, or no new user, has enough positives.
    """
    histories, past = positives(dataset), positives(_before(dataset, cut_ms))
    arrived_U = _first_times(dataset) >= cut_ms
    new = np.flatnonzero(arrived_U & (histories.lengths_U > 0))
    known = np.flatnonzero(past.lengths_U > 0)
    train, validation, _ = split_users(
        known, np.random.default_rng(seed), (1 - _VALIDATION_SHARE, _VALIDATION_SHARE)
    )
    check_disjoint(dataset, train, validation, new)
    data, features = method_data(dataset, past, train, validation, seed, window)
    arrived = histories.take(new)
    found = cold_users(arrived, features[new], window, data.candidates_N)
    if validation_users(data).n_users == 0:
        raise DataError(
            f"{dataset.name}: no validation user has {minimum_positives(window)} positive "
            f"interactions before {date_text(cut_ms)}, which a window of {window} needs; give a "
            "later --cut or a smaller --window"
        )
    if found.n_users == 0:
        raise DataError(
            f"{dataset.name}: none of the {len(new)} users who first appear after "
            f"{date_text(cut_ms)} has {minimum_positives(window)} positive interactions, which a "
            f"window of {window} needs; give an earlier --cut or a smaller --window"
        )
    later = histories.prefix(past.lengths_U, histories.lengths_U).take(known)
    query = among(later, data.candidates_N)
    query = query.prefix(np.zeros_like(known), query.lengths_U * ~np.isin(known, validation))
    return TimeSplit(
        data,
        found,
        new[measurable_users(arrived, window, data.candidates_N)],
        KnownUsers(past.take(known), query, features[known]),
        known,
        dataset.n_users,
    )


def _before(dataset: Dataset, cut_ms: int) -> Dataset:
    """The data set without the interactions from the cut on; codes stay."""
    rows = dataset.interactions
    assert rows.timestamp_E is not None
    kept_E = rows.timestamp_E < cut_ms
    return replace(
        dataset,
        interactions=replace(
            rows,
            user_E=rows.user_E[kept_E],
            item_E=rows.item_E[kept_E],
            value_E=None if rows.value_E is None else rows.value_E[kept_E],
            event_E=None if rows.event_E is None else rows.event_E[kept_E],
            timestamp_E=rows.timestamp_E[kept_E],
        ),
    )


def _first_times(dataset: Dataset) -> NDArray[np.int64]:
    """Each user's first interaction of all, positive or not, (U,)."""
    rows = dataset.interactions
    assert rows.timestamp_E is not None
    first_U = np.full(dataset.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first_U, rows.user_E, rows.timestamp_E)
    return first_U
