"""Choosing how new items adapt: calibration against shares that are known."""

from typing import cast

import numpy as np
import pytest

from training.items.choose import calibrated_offset
from training.items.prior import FittedPrior
from training.items.shared_space import ItemSettings, SharedSpace
from training.items.states import UserStates
from training.items.task import ColdItemTask, ItemSupports
from training.outer_loop import Trained
from training.tasks import from_pairs

KNOWN, NEW, USERS = 6, 2, 4


def flat_space() -> SharedSpace:
    """Six trained items and two new ones, all with the same score for everybody."""
    zeros = np.zeros((USERS, 1), dtype=np.float32)
    states = UserStates(zeros, np.full(USERS, np.log(KNOWN), dtype=np.float32))
    theta_NP = np.zeros((KNOWN + NEW, 2), dtype=np.float32)
    empty = np.zeros(0, dtype=np.int64)
    prior = FittedPrior(
        np.zeros((1, 2)), empty, empty, np.zeros((0, 33, 2)), np.zeros(2), np.eye(2), {}
    )
    return SharedSpace(cast("Trained", None), states, states, theta_NP, prior, theta_NP.copy())


@pytest.mark.parametrize(("taken_new", "share"), [(2, 0.5), (1, 0.25)])
def test_the_offset_gives_new_items_the_share_they_are_asked_for(
    taken_new: int, share: float
) -> None:
    """Of four later items each, so many are new; users have seen two of the trained items, so the
    odds of two new items among four known ones must become those of the share."""
    users_U = np.arange(USERS)
    new = np.arange(KNOWN, KNOWN + NEW)
    query = [(u, i) for u in users_U for i in [*range(2, 6 - taken_new), *new[:taken_new]]]
    user, item = np.array(query).T
    seen_user = np.repeat(users_U, 2)
    task = ColdItemTask(
        ItemSupports(new, np.zeros((NEW, 0), dtype=np.int32), None),
        users_U,
        from_pairs(seen_user, np.tile([0, 1], USERS), USERS, KNOWN + NEW),
        from_pairs(user, item, USERS, KNOWN + NEW),
        np.ones(KNOWN + NEW, dtype=np.bool_),
    )
    states_UD = np.zeros((USERS, 1), dtype=np.float32)
    offset = calibrated_offset(flat_space(), task, states_UD, ItemSettings())
    assert offset == pytest.approx(np.log(share / (1 - share) * 4 / 2), abs=0.01)
