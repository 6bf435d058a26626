"""The page that travels with a version: its lists for validation users beside plain popularity.

For a person who looks at a version before activating it. Validation users chose the version's
settings, so its figures flatter it a little, and the page says so; `recsvc-train evaluate` is the
judge. Knows nothing of bundles or registries.

Shape legend: V views, U users, M metrics.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from training.baselines.popularity import LatePopularity, Popularity
from training.evaluate import Measures, MethodRun
from training.methods import VIEWS, ColdUserData, Method, Score, measure, validation_users
from training.report import render
from training.served import ServedModel, ServedScorer
from training.summary import summarise

_RESAMPLES = 2_000


def version_report(model: ServedModel, data: ColdUserData, facts: Mapping[str, Any]) -> str | None:
    """The page as HTML; None without validation users to speak of.

    Args:
        model: what the version serves.
        data: what it was trained and validated on.
        facts: about the data set and the decisions, shown as they are.
    """
    users = validation_users(data)
    if users.n_users < 2:
        return None
    baselines: list[Method] = [Popularity(), LatePopularity()]
    for baseline in baselines:
        baseline.fit(data)
    scores: dict[str, Score] = {baseline.name: baseline.score for baseline in baselines}
    if model.kernel is not None:
        scores["user vector alone"] = ServedScorer(replace(model, kernel=None)).score
    scores["this version"] = ServedScorer(model).score
    runs = []
    for name, score in scores.items():
        figures = [measure(name, score, users, data.candidates_N, n, VIEWS[:1]) for n in data.sizes]
        headline = np.array([at[0, :, 0].mean() for at in figures])
        runs.append(MethodRun(name, data.seed, np.stack(figures), headline, {}, 0.0, 0.0))
    evaluation = summarise(
        runs,
        protocol="validation users of this version (they chose its settings)",
        dataset=facts,
        window=data.window,
        measures=Measures(data.sizes, VIEWS[:1]),
        baselines=[baseline.name for baseline in baselines],
        versions={},
        resamples=_RESAMPLES,
    )
    return render(evaluation.to_json())
