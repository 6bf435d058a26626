"""Pooling per-user figures: users that a view does not measure, and metrics that are errors."""

from dataclasses import replace

import numpy as np
import pytest

from training.evaluate import BEST_ON_TEST, BEST_ON_VALIDATION, Evaluation, Measures, MethodRun
from training.summary import summarise

NAN = float("nan")


def a_run(method: str, figures_VU: list[list[float]], validation: float = 0.5) -> MethodRun:
    figures_nVUM = np.array(figures_VU)[None, :, :, None]
    return MethodRun(method, 0, figures_nVUM, np.array([validation]), {}, 1.0, 1.0)


def pooled(runs: list[MethodRun], metric: str = "gain", same_users: bool = False) -> Evaluation:
    return summarise(
        runs,
        protocol="groups",
        dataset={"name": "shop"},
        window=1,
        measures=Measures((1,), ("new", "known"), (metric,), lower_is_better=("mae",)),
        baselines=["weak", "strong"],
        versions={},
        same_users=same_users,
        resamples=200,
    )


def test_a_user_counts_where_they_are_measured() -> None:
    """Means and counts of a view leave out the users of the other one."""
    found = pooled([a_run("ours", [[1.0, 0.5, NAN, NAN], [NAN, NAN, 0.2, NAN]])])
    (new,) = found.row("ours", "new", "gain")
    (known,) = found.row("ours", "known", "gain")
    assert [new.mean, known.mean] == pytest.approx([0.75, 0.2])
    assert [new.users, known.users] == [2, 1]
    assert 0.5 <= new.low <= new.mean <= new.high <= 1.0


def test_a_figure_that_measures_nobody_is_left_out() -> None:
    """A view without users has no row instead of a zero."""
    found = pooled([a_run("ours", [[1.0, 0.5], [NAN, NAN]])])
    assert found.row("ours", "known", "gain") == []


def test_methods_measured_on_different_users_are_refused() -> None:
    """Their difference would not be paired."""
    runs = [a_run("weak", [[1.0, NAN], [0, 0]]), a_run("ours", [[1.0, 1.0], [0, 0]])]
    with pytest.raises(ValueError, match="different users"):
        pooled(runs)


@pytest.mark.parametrize(("metric", "best"), [("mae", "weak"), ("gain", "strong")])
def test_the_best_baseline_of_an_error_is_the_smallest(metric: str, best: str) -> None:
    """Both on validation and on test users."""
    levels = {"weak": 0.2, "strong": 0.6, "ours": 0.4}
    runs = [a_run(m, [[v, v], [v, v]], validation=v) for m, v in levels.items()]
    found = {d.against: d for d in pooled(runs, metric).differences if d.view == "new"}
    assert found[BEST_ON_TEST].against_method == best
    assert found[BEST_ON_VALIDATION].against_method == best


def test_without_validation_figures_no_baseline_is_best_by_them() -> None:
    """NaN says that there are none."""
    runs = [a_run(m, [[0.1], [0.1]], validation=NAN) for m in ("weak", "ours")]
    assert {d.against for d in pooled(runs).differences} == {"weak", BEST_ON_TEST}


def two_sizes(metric: str, zero: float, one: float) -> Evaluation:
    """One method on 40 users whose figures spread equally at n = 0 and n = 1."""
    spread_U = np.linspace(-0.05, 0.05, 40)
    figures_nVUM = np.stack([zero + spread_U, one + spread_U])[:, None, :, None]
    run = MethodRun("ours", 0, figures_nVUM, np.array([NAN, NAN]), {}, 1.0, 1.0)
    return summarise(
        [run],
        protocol="cold-user",
        dataset={"name": "shop"},
        window=1,
        measures=Measures((0, 1), ("masked",), (metric,), lower_is_better=("mae",)),
        baselines=[],
        versions={},
        resamples=200,
    )


@pytest.mark.parametrize(
    ("metric", "one", "verdict"),
    [
        ("gain", 0.31, "better"),
        ("gain", 0.29, "worse"),
        ("gain", 0.30, "undecided"),
        ("mae", 0.29, "better"),
    ],
)
def test_one_click_is_judged_on_the_same_users(metric: str, one: float, verdict: str) -> None:
    """The same change for everyone is certain, however much users differ; an error must fall."""
    (found,) = two_sizes(metric, 0.3, one).one_click
    assert found.verdict == verdict
    assert [found.mean, found.low, found.high] == pytest.approx([one - 0.3] * 3)


def test_seeds_with_the_same_users_do_not_multiply_them() -> None:
    """Each user's figures are averaged over the seeds that measured them."""
    figures = [[[0.2, 0.4], [NAN, 0.1]], [[0.4, 0.6], [0.3, NAN]]]
    runs = [replace(a_run("ours", f), seed=s) for s, f in enumerate(figures)]
    found = pooled(runs, same_users=True)
    (new,), (known,) = (found.row("ours", view, "gain") for view in ("new", "known"))
    assert [new.users, known.users] == [2, 2]
    assert [new.mean, known.mean] == pytest.approx([0.4, 0.2])
