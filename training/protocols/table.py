"""An evaluation as text: one table a metric, then our differences to the baselines.

Knows nothing of where it is printed.
"""

from collections.abc import Sequence

from training.evaluate import (
    BEST_ON_TEST,
    BEST_ON_VALIDATION,
    Cell,
    Difference,
    Evaluation,
    OneClick,
)
from training.methods import VIEWS

_TITLES = {"hr": "HR", "mae": "MAE", "ndcg": "nDCG", "recall": "Recall", "rmse": "RMSE"}


def render(evaluation: Evaluation) -> str:
    """All tables, for a terminal or a file."""
    parts = [_heading(evaluation)]
    if len(evaluation.sizes) == 1:
        parts += [_all_metrics(evaluation, view) for view in evaluation.views]
    else:
        first = evaluation.views[0]
        parts += [_means(evaluation, first, metric) for metric in evaluation.metrics]
        parts += [_means(evaluation, view, evaluation.metrics[0]) for view in evaluation.views[1:]]
    compared = [m for m in evaluation.methods if m not in evaluation.baselines]
    if evaluation.baselines:
        shown = evaluation.views if evaluation.views != VIEWS else VIEWS[:1]
        parts += [_differences(evaluation, m, view) for m in compared for view in shown]
    if evaluation.one_click:
        parts.append(_one_click(evaluation))
    parts.append(_seconds(evaluation))
    return "\n\n".join(parts)


def _heading(evaluation: Evaluation) -> str:
    data = evaluation.dataset
    return (
        f"{evaluation.protocol} on {data['name']}: {evaluation.n_users:,} test users over "
        f"{len(evaluation.seeds)} seed(s), window {evaluation.window}, "
        f"positive: {data['positive_rule']}\n"
        "mean ± half of the 95 % bootstrap interval over users "
        f"({evaluation.resamples:,} resamples)"
    )


def title(metric: str) -> str:
    """A metric's name for people: nDCG@10 for ndcg@10."""
    name, dash, rest = metric.partition("-")
    word, at, depth = name.partition("@")
    return f"{_TITLES.get(word, word)}{at}{depth}{dash}{rest}"


def _columns(evaluation: Evaluation) -> list[str]:
    return [f"n={n}" for n in evaluation.sizes] if len(evaluation.sizes) > 1 else ["mean"]


def _means(evaluation: Evaluation, view: str, metric: str) -> str:
    rows = [[f"{title(metric)}, {view}", *_columns(evaluation)]]
    for method in evaluation.methods:
        at = {cell.n: cell for cell in evaluation.row(method, view, metric)}
        rows.append([method, *(_mean(at.get(n)) for n in evaluation.sizes)])
    return _grid(rows)


def _all_metrics(evaluation: Evaluation, view: str) -> str:
    """One table of a view where there is one size: a column a metric."""
    rows = [[view, *map(title, evaluation.metrics)]]
    for method in evaluation.methods:
        cells = [evaluation.row(method, view, metric) for metric in evaluation.metrics]
        rows.append([method, *(_mean(found[0] if found else None) for found in cells)])
    return _grid(rows)


def _mean(cell: Cell | None) -> str:
    return "-" if cell is None else f"{cell.mean:.4f} ±{(cell.high - cell.low) / 2:.4f}"


def _differences(evaluation: Evaluation, method: str, view: str) -> str:
    """The first metric of one method minus each baseline, in per cent of the baseline."""
    metric = evaluation.metrics[0]
    rows = [[f"{method} minus, {title(metric)}, {view}, %", *_columns(evaluation)]]
    for against in [*evaluation.baselines, BEST_ON_VALIDATION, BEST_ON_TEST]:
        at = {
            d.n: d
            for d in evaluation.differences
            if (d.method, d.against, d.view, d.metric) == (method, against, view, metric)
        }
        rows.append([against, *(_percent(at.get(n)) for n in evaluation.sizes)])
    note = "paired on the same users; [95 % interval]; * where 0 is outside of it"
    if metric in evaluation.lower_is_better:
        note += "; below 0 is better"
    return f"{_grid(rows)}\n{note}"


def _percent(d: Difference | None) -> str:
    if d is None:
        return "-"
    if d.relative == 0.0:
        return f"{d.mean:+.4f}"
    scale = 100.0 * d.relative / d.mean
    star = "*" if d.low > 0 or d.high < 0 else " "
    return f"{100 * d.relative:+.1f} [{scale * d.low:+.1f}, {scale * d.high:+.1f}]{star}"


def _one_click(evaluation: Evaluation) -> str:
    """n=1 minus n=0 of every method, in the first metric of every view."""
    metric = evaluation.metrics[0]
    rows = [[f"one click: n=1 minus n=0, {title(metric)}", *evaluation.views]]
    for method in evaluation.methods:
        at = {c.view: c for c in evaluation.one_click if (c.method, c.metric) == (method, metric)}
        rows.append([method, *(_change(at.get(view)) for view in evaluation.views)])
    return _grid(rows)


def _change(c: OneClick | None) -> str:
    if c is None:
        return "-"
    return f"{c.mean:+.4f} [{c.low:+.4f}, {c.high:+.4f}] {c.verdict}"


def _seconds(evaluation: Evaluation) -> str:
    rows = [["seconds a seed", "fit and tune", "score"]]
    for method in evaluation.methods:
        runs = [run for run in evaluation.runs if run["method"] == method]
        rows.append(
            [method, *(f"{sum(r[k] for r in runs) / len(runs):.1f}" for k in ("fit_s", "score_s"))]
        )
    return _grid(rows)


def _grid(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if c == 0 else cell.rjust(width)
            for c, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
