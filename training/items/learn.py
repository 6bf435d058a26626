"""Learn how new items behave in the space of a served model.

Knows nothing of files. Some trained items play new: a second model is trained that never saw them,
they get their first interactions back, and validation users' later interactions judge.

Shape legend: U training users, N item codes, H held-out items.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.manifest import MAX_ITEM_USERS
from recsvc.contract.schema import FeatureSchema
from training.errors import TrainingError
from training.item_prior import ItemPrior
from training.items.choose import calibrated_offset, choose_settings
from training.items.events import Events, Traffic, first_events
from training.items.shared_space import ItemSettings, SharedSpace, shared_space
from training.items.states import (
    SAMPLE_USERS,
    UserStates,
    sample_by_events,
    states_before,
    user_states,
)
from training.items.task import ColdItemTask, ItemSupports
from training.methods import ColdUserData
from training.outer_loop import MetaTrainer, TrainConfig, Trained
from training.posterior import ItemAdaptation
from training.tasks import PADDING, Histories

SIZES = (0, 1, 3, 10)
"""Support sizes that settings are judged by."""
_LEAST = 20
"""Trained items and training users below which items keep what their content says."""
_LEAST_ITEMS = 40
"""Held-out items, and _LEAST validation users who took one, below which nothing is chosen."""
_HELD_OUT_SHARE = 0.2
_MOST_ITEMS = 700
_MOST_USERS = 1000


@dataclass(frozen=True, slots=True)
class LearnedItems:
    """For the bundle."""

    prior: ItemPrior
    adaptation: ItemAdaptation | None
    decision: str
    """What was chosen and why."""


@dataclass(frozen=True, slots=True)
class _Takers:
    """Training users at their events, as the service knows those who take a new item."""

    events: Events
    blank_F: NDArray[np.float32]
    """Encoded user of whom nothing is known."""

    def sample(
        self, trained: Trained, rows_N: NDArray[np.int64], rng: np.random.Generator
    ) -> UserStates:
        """States at some events on trained items, evenly spread over users and their histories."""
        places = self.events.by_user(rows_N >= 0)
        at_M = sample_by_events(np.ones(len(places), dtype=np.int64), SAMPLE_USERS, rng)
        return states_before(trained, rows_N, self.events, places[at_M], self.blank_F)

    def with_states(
        self, supports: ItemSupports, trained: Trained, rows_N: NDArray[np.int64]
    ) -> ItemSupports:
        """The same supports with their users' states, by a model that never saw the items."""
        is_row_IS = supports.users_IS != PADDING
        items_IS = np.broadcast_to(supports.items_I[:, None], is_row_IS.shape)
        at_K = self.events.places(supports.users_IS[is_row_IS], items_IS[is_row_IS])
        found = states_before(trained, rows_N, self.events, at_K, self.blank_F)
        states_ISD = np.zeros((*is_row_IS.shape, found.states_UD.shape[1]), dtype=np.float32)
        states_ISD[is_row_IS] = found.states_UD
        return replace(supports, states_ISD=states_ISD)


def learn_items(
    data: ColdUserData,
    trained: Trained,
    rows_N: NDArray[np.int64],
    schema: FeatureSchema,
    events: Events,
    blank_F: NDArray[np.float32],
    config: TrainConfig,
) -> LearnedItems:
    """Fit the content prior and what adapting needs; choose settings on held-out items.

    Args:
        data: what the model was trained on, item features among it.
        trained: the model.
        rows_N: its row of every item code, -1 where it has none.
        schema: layout of the items' features.
        events: of the training users, by their rows in `data.train`.
        blank_F: encoded user of whom nothing is known.
        config: that the model was trained with.
    """
    takers = _Takers(events, blank_F)
    space = _space(data, trained, rows_N, schema, takers, None)
    fewest = min(len(trained.codes_M), data.train.n_users)
    if fewest < _LEAST:
        reason = (
            f"none: {len(trained.codes_M)} trained items and {data.train.n_users} training users; "
            f"it takes {_LEAST} of each"
        )
        return LearnedItems(space.prior.module(), None, reason)
    settings, reason = _choose(data, trained, space, schema, takers, config)
    adaptation = ItemAdaptation(
        space.parameters(settings), space.sample.states_UD, space.sample.offset_U, MAX_ITEM_USERS
    )
    return LearnedItems(
        space.prior.module(settings.scale, settings.offset),
        None if reason.startswith("none") else adaptation,
        reason,
    )


def _choose(
    data: ColdUserData,
    trained: Trained,
    space: SharedSpace,
    schema: FeatureSchema,
    takers: _Takers,
    config: TrainConfig,
) -> tuple[ItemSettings, str]:
    """Settings from held-out items, or the defaults, and why."""
    default = ItemSettings()
    rng = np.random.default_rng([data.seed, 13])
    wanted = min(round(_HELD_OUT_SHARE * len(trained.codes_M)), _MOST_ITEMS)
    held_H = np.sort(rng.choice(trained.codes_M, wanted, replace=False))
    everyone = _task(data, held_H, takers.events).sample(_MOST_USERS, data.seed)
    judges = _judges(everyone)
    if len(held_H) < _LEAST_ITEMS or len(judges) < _LEAST:
        return default, (
            f"{_words(default)}: not chosen on this data, for of {len(held_H)} items and "
            f"{len(judges)} validation users that could judge, {_LEAST_ITEMS} and {_LEAST} "
            "are needed"
        )
    fewer = _without(data, held_H)
    try:
        trainer = MetaTrainer(fewer, replace(config, max_epochs=trained.epochs))
        fold = trainer.run()
    except TrainingError as exc:  # the model that is served is trained already
        return default, f"{_words(default)}: not chosen on this data: without some items, {exc}"
    known = _space(fewer, fold, trainer.rows_N, schema, takers, space)
    everyone = replace(
        everyone, supports=takers.with_states(everyone.supports, fold, trainer.rows_N)
    )
    features = data.validation_features[everyone.users_U]
    states_UD = user_states(fold, trainer.rows_N, everyone.seen, features).states_UD
    offset = calibrated_offset(known, everyone, states_UD, default)
    settings, figures = choose_settings(
        [known],
        [_part(everyone, judges)],
        [states_UD[judges]],
        SIZES,
        replace(default, offset=offset),
        ("exposure_weight", "burst", "spread"),
    )
    measured = (
        f"mean of nDCG@10 over all items and among new ones "
        f"{' '.join(f'{v:.4f}' for v in figures.values())} after {' '.join(map(str, figures))} "
        f"interactions, on {len(held_H)} items that a second model never saw and "
        f"{len(judges)} validation users"
    )
    if np.mean([v for n, v in figures.items() if n > 0]) <= figures[0]:
        return settings, f"none: what content says makes lists as good: {measured}"
    return settings, (
        f"{_words(settings)}: the offset gives new items the share that users ask for, the rest is "
        f"best of a search, {measured}"
    )


def _words(settings: ItemSettings) -> str:
    values = {k: v for k, v in asdict(settings).items() if k != "from_first"}
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _space(
    data: ColdUserData,
    trained: Trained,
    rows_N: NDArray[np.int64],
    schema: FeatureSchema,
    takers: _Takers,
    like: SharedSpace | None,
) -> SharedSpace:
    assert data.item_features is not None, "fit always encodes items. This is a bug."
    rng = np.random.default_rng([data.seed, 5])
    return shared_space(
        trained,
        rows_N,
        data.train,
        data.train_features,
        data.item_features,
        schema,
        rng,
        None if like is None else like.prior.block_weights,
        takers.sample(trained, rows_N, rng),
    )


def _task(data: ColdUserData, held_H: NDArray[np.int64], events: Events) -> ColdItemTask:
    """Held-out items as new ones, to rank for validation users after their first window."""
    held_N = np.zeros(data.n_items, dtype=np.bool_)
    held_N[held_H] = True
    of_held_E = held_N[events.item_E]
    clock = Traffic(events.take(~of_held_E))
    supports = first_events(events.take(of_held_E), held_H, clock, SIZES[-1])
    everyone = data.validation
    start_U = np.minimum(data.window, everyone.lengths_U // 2)
    seen = everyone.prefix(np.zeros_like(start_U), start_U)
    query = everyone.prefix(start_U, everyone.lengths_U)
    users_U = np.flatnonzero(query.lengths_U > 0)
    return ColdItemTask(
        supports, users_U, seen.take(users_U), query.take(users_U), data.candidates_N
    )


def _judges(task: ColdItemTask) -> NDArray[np.int64]:
    """Rows of the users who ask for a new item."""
    return np.unique(task.query.user_E[task.cold_N[task.query.item_E]])


def _part(task: ColdItemTask, rows: NDArray[np.int64]) -> ColdItemTask:
    return replace(
        task, users_U=task.users_U[rows], seen=task.seen.take(rows), query=task.query.take(rows)
    )


def _without(data: ColdUserData, held_H: NDArray[np.int64]) -> ColdUserData:
    """The same data without some items."""
    kept_N = data.candidates_N.copy()
    kept_N[held_H] = False
    train, validation = (_only(h, kept_N) for h in (data.train, data.validation))
    return replace(data, train=train, validation=validation, candidates_N=train.counts() > 0)


def _only(histories: Histories, kept_N: NDArray[np.bool_]) -> Histories:
    kept_E = kept_N[histories.item_E]
    counts_U = np.bincount(histories.user_E[kept_E], minlength=histories.n_users)
    indptr = np.concatenate([[0], np.cumsum(counts_U)]).astype(np.int64)
    return Histories(indptr, histories.item_E[kept_E], histories.n_items)
