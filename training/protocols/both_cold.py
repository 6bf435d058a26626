"""Protocol P3, both cold: rank all items for users whose only interactions are with cold items.

Knows nothing of any method's insides.

A fifth of the users is cold and a fifth of the items, both at random. Training is the warm users'
interactions with warm items; a cold item's support is its first n interactions of warm users. A
cold user's support is their first `USER_SUPPORT` positives among the cold items; the query is the
rest of their positives, cold and warm. Methods adapt the items, users are folded into the same
space. Settings of both are chosen on folds that repeat this within the training interactions.

Shape legend: U cold users, S support rows of a user.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.datasets import Dataset
from training.errors import DataError
from training.evaluate import Evaluation, Measures, MethodRun
from training.items.events import Events, positive_events
from training.items.task import VIEWS, ColdItemData, ColdItemTask, ItemMethod, measure
from training.items.user_fold_in import choose_user_settings, ranker
from training.protocols.cold_item import CODE, METHODS
from training.protocols.cold_item_split import (
    FOLDS,
    NESTED,
    SUPPORT_SIZES,
    data_and_task,
    joined,
    split_events,
)
from training.protocols.protocol import Request, run_methods
from training.protocols.registry import MethodSpec, find_methods
from training.protocols.run_store import library_versions
from training.protocols.user_data import dataset_facts
from training.summary import summarise
from training.tasks import positives

PROTOCOL = "both-cold"
USER_SUPPORT = 5
_COLD_USERS = 0.2

UserTask = tuple[ColdItemTask, NDArray[np.int32]]
"""Cold users to rank for, and the items of their supports, (U, S)."""


@dataclass(frozen=True)
class BothColdSplit:
    """One seed's split."""

    data: ColdItemData
    fold_users: tuple[UserTask, ...]
    """Of every fold of `data`."""
    test: UserTask


def split_both(dataset: Dataset, seed: int) -> BothColdSplit:
    """Split users and items for one seed.

    Raises:
        DataError: no cold user has a support and a query.
    """
    events = positive_events(dataset, np.random.default_rng([seed, 0]))
    of_warm, of_cold = _split_users(events, seed)
    train, cold, held_out = split_events(of_warm, "random", seed, fold=0)
    folds: list[tuple[ColdItemData, ColdItemTask]] = []
    fold_users: list[UserTask] = []
    for fold in range(FOLDS["random"]):
        known, unknown = _split_users(train, seed + NESTED + fold)
        parts = split_events(known, "random", seed + NESTED, fold)
        folds.append(data_and_task(dataset, *parts, (), seed))
        fold_users.append(_user_task(folds[-1][1], unknown))
    data, task = data_and_task(dataset, train, cold, held_out, tuple(folds), seed)
    test = _user_task(task, of_cold)
    for found, _ in (test, *fold_users):
        if not len(found.users_U):
            raise DataError(
                f"{dataset.name}: no cold user has {USER_SUPPORT} positive interactions with "
                "cold items and one more; give more data"
            )
    return BothColdSplit(data, tuple(fold_users), test)


def _split_users(events: Events, seed: int) -> tuple[Events, Events]:
    """Events of warm users, and of the cold fifth."""
    users = np.unique(events.user_E)
    chosen = np.random.default_rng([seed, 3]).permutation(users)[: round(_COLD_USERS * len(users))]
    cold_E = np.isin(events.user_E, chosen)
    return events.take(~cold_E), events.take(cold_E)


def _user_task(task: ColdItemTask, events: Events) -> UserTask:
    """The cold users' task among the same items.

    Args:
        task: of the cold items.
        events: of the cold users.
    """
    known = events.take(task.candidates_N[events.item_E])
    among_cold = known.take(task.cold_N[known.item_E]).histories()
    users_U = np.flatnonzero(among_cold.lengths_U > USER_SUPPORT)
    support_US = among_cold.take(users_U).padded(USER_SUPPORT)
    taken = np.zeros((known.n_users, known.n_items), dtype=np.bool_)
    taken[users_U[:, None], support_US] = True
    support_E = taken[known.user_E, known.item_E]
    nothing = known.take(np.zeros(len(support_E), dtype=np.bool_))
    return (
        ColdItemTask(
            task.supports,
            users_U,
            joined(known.take(support_E), nothing).take(users_U),
            joined(known.take(~support_E), nothing).take(users_U),
            task.candidates_N,
        ),
        support_US,
    )


def run_method(
    spec: MethodSpec[ItemMethod],
    split: BothColdSplit,
    clock: Callable[[], float] = time.perf_counter,
) -> MethodRun:
    """Fit one method, choose how users fold in, measure the cold users at every size."""
    data, (test, support_US) = split.data, split.test
    method = spec.make()
    started_s = clock()
    method.fit(data)
    chosen = {
        n: choose_user_settings(
            [
                method.embed_fold(i, task.supports.head(n), n)
                for i, (task, _) in enumerate(split.fold_users)
            ],
            split.fold_users,
            n,
        )
        for n in data.sizes
    }
    fitted_s = clock()
    figures = []
    for n in data.sizes:
        embedding = method.embed(test.supports.head(n), n)
        rank = ranker(embedding, test, support_US, chosen[n][0])
        figures.append(measure(spec.name, rank, test, n))
    return MethodRun(
        method=spec.name,
        seed=data.seed,
        figures_nVUM=np.stack(figures),
        validation_n=np.array([chosen[n][1] for n in data.sizes]),
        settings={
            **method.settings(),
            "users": {str(n): dict(settings) for n, (settings, _) in chosen.items()},
        },
        fit_s=fitted_s - started_s,
        score_s=clock() - fitted_s,
    )


class BothColdProtocol:
    """`--protocol both-cold`."""

    name = PROTOCOL
    summary = "users that training never saw, from five interactions with items it never saw"
    options: tuple[str, ...] = ()
    methods = tuple(spec.name for spec in METHODS)

    def run(self, request: Request) -> Evaluation:
        """As `EvaluationProtocol.run`."""
        return run_both_cold(request, find_methods(request.methods, METHODS))


def run_both_cold(request: Request, methods: Sequence[MethodSpec[ItemMethod]]) -> Evaluation:
    """Run the protocol for every method on every seed.

    Args:
        request: its `methods` are not looked at.
        methods: what to compare; names differ.

    Raises:
        DataError: no user can be measured.
        SettingError: no seed, no method, or two of one name.
        ScoreError: a method's scores cannot be ranked.
    """
    dataset = request.dataset
    runs = run_methods(
        request,
        methods,
        protocol=PROTOCOL,
        conditions={"user_support": USER_SUPPORT},
        code=(*CODE, "items/user_fold_in.py", "protocols/both_cold"),
        split=lambda seed: split_both(dataset, seed),
        run=run_method,
    )
    return summarise(
        runs,
        protocol=PROTOCOL,
        dataset=dataset_facts(dataset, positives(dataset)),
        window=SUPPORT_SIZES[-1],
        measures=Measures(SUPPORT_SIZES, VIEWS, size_title="interactions of the cold items"),
        baselines=[spec.name for spec in methods if spec.is_baseline],
        versions=library_versions(),
        settings={"user_support": USER_SUPPORT},
        resamples=request.resamples,
    )
