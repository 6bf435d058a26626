"""Protocol P2, cold item: rank cold items among all items, from few interactions of each.

Knows nothing of any method's insides, nor of how the split is made (`cold_item_split`).

Users to rank for are those with a cold item in their query. Views: "all" ranks cold and warm items
and either may be relevant; "cold-hits" is the same ranking where cold items alone are relevant;
"cold" ranks cold items among themselves. The query of a user is the same at every support size.
"""

import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from training.errors import SettingError
from training.evaluate import Evaluation, Measures, MethodRun
from training.items.fold_in import ContentFoldIn
from training.items.popularity import SupportPopularity
from training.items.task import VIEWS, ItemMethod, measure
from training.protocols.cold_item_split import (
    SUPPORT_SIZES,
    ColdItemSplit,
    SplitKind,
    split_cold_items,
)
from training.protocols.protocol import Request, run_methods
from training.protocols.registry import MethodSpec, find_methods
from training.protocols.run_store import library_versions
from training.protocols.user_data import dataset_facts
from training.summary import summarise
from training.tasks import positives

PROTOCOL = "cold-item"
CODE = (
    "items/content.py",
    "items/embedding.py",
    "items/events.py",
    "items/fold_in.py",
    "items/popularity.py",
    "items/space.py",
    "items/task.py",
    "items/tuning.py",
    "protocols/cold_item",
)


def _ours() -> ItemMethod:
    from training.items.shared import SharedItems

    return SharedItems()


def _least_squares() -> ItemMethod:
    from training.items.learned import AdaptedItems

    return AdaptedItems()


METHODS: tuple[MethodSpec[ItemMethod], ...] = (
    MethodSpec("support-popularity", SupportPopularity, is_baseline=True),
    MethodSpec("content-knn", lambda: ContentFoldIn("content-knn", "knn"), is_baseline=True),
    MethodSpec("ridge", lambda: ContentFoldIn("ridge", "ridge"), is_baseline=True),
    MethodSpec("ridge+", lambda: ContentFoldIn("ridge+", "blocks"), is_baseline=True),
    MethodSpec(
        "ridge+exp", lambda: ContentFoldIn("ridge+exp", "blocks", exposed=True), is_baseline=True
    ),
    MethodSpec("posterior-als", _least_squares, is_baseline=False),
    MethodSpec("ours", _ours, is_baseline=False),
)


def parse_split(text: str) -> SplitKind:
    """Read `--split`.

    Raises:
        SettingError: it is neither random nor time.
    """
    if text not in ("random", "time"):
        raise SettingError(f"--split is {text!r}; it must be random or time")
    return cast("SplitKind", text)


def run_method(
    spec: MethodSpec[ItemMethod],
    split: ColdItemSplit,
    clock: Callable[[], float] = time.perf_counter,
) -> MethodRun:
    """Fit one method, then measure it on the test task at every size."""
    data, test = split.data, split.test
    method = spec.make()
    started_s = clock()
    method.fit(data)
    fitted_s = clock()
    figures_nVUM = np.stack(
        [
            measure(spec.name, method.embed(test.supports.head(n), n).rank, test, n)
            for n in data.sizes
        ]
    )
    return MethodRun(
        method=spec.name,
        seed=data.seed,
        figures_nVUM=figures_nVUM,
        validation_n=np.array([method.validation(n) for n in data.sizes]),
        settings=method.settings(),
        fit_s=fitted_s - started_s,
        score_s=clock() - fitted_s,
    )


class ColdItemProtocol:
    """`--protocol cold-item`."""

    name = PROTOCOL
    summary = "items that training never saw, after n of their interactions, among all items"
    options = ("split",)
    methods = tuple(spec.name for spec in METHODS)

    def run(self, request: Request) -> Evaluation:
        """As `EvaluationProtocol.run`."""
        return run_cold_item(request, find_methods(request.methods, METHODS))


def run_cold_item(request: Request, methods: Sequence[MethodSpec[ItemMethod]]) -> Evaluation:
    """Run the protocol for every method on every seed.

    Args:
        request: its `methods` are not looked at.
        methods: what to compare; names differ.

    Raises:
        DataError: no user has a cold item to rank for, or a split by time without timestamps.
        SettingError: no seed, no method, two of one name, or a wrong split.
        ScoreError: a method's scores cannot be ranked.
    """
    dataset = request.dataset
    kind = parse_split(request.options.get("split", "random"))
    runs = run_methods(
        request,
        methods,
        protocol=PROTOCOL,
        conditions={"split": kind},
        code=CODE,
        split=lambda seed: split_cold_items(dataset, seed, kind),
        run=run_method,
    )
    return summarise(
        runs,
        protocol=PROTOCOL,
        dataset=dataset_facts(dataset, positives(dataset)),
        window=SUPPORT_SIZES[-1],
        measures=Measures(SUPPORT_SIZES, VIEWS),
        baselines=[spec.name for spec in methods if spec.is_baseline],
        versions=library_versions(),
        settings={"split": kind},
        resamples=request.resamples,
    )
