"""An evaluation as text: one table a metric, then our differences to the baselines.

Knows nothing of where it is printed.
"""

from collections.abc import Sequence

from training.evaluate import BEST_ON_TEST, BEST_ON_VALIDATION, Difference, Evaluation

_TABLES = (
    ("masked", "ndcg@10"),
    ("masked", "recall@20"),
    ("masked", "hr@10"),
    ("literal", "ndcg@10"),
)
_TITLES = {"ndcg@10": "nDCG@10", "recall@20": "Recall@20", "hr@10": "HR@10"}


def render(evaluation: Evaluation) -> str:
    """All tables, for a terminal or a file."""
    parts = [_heading(evaluation)]
    parts += [_means(evaluation, view, metric) for view, metric in _TABLES]
    compared = [m for m in evaluation.methods if m not in evaluation.baselines]
    if evaluation.baselines:
        parts += [_differences(evaluation, method) for method in compared]
    parts.append(_seconds(evaluation))
    return "\n\n".join(parts)


def _heading(evaluation: Evaluation) -> str:
    data = evaluation.dataset
    users = sum(evaluation.users.values())
    return (
        f"{evaluation.protocol} on {data['name']}: {users:,} test users over "
        f"{len(evaluation.seeds)} seed(s), window {evaluation.window}, "
        f"positive: {data['positive_rule']}\n"
        "mean ± half of the 95 % bootstrap interval over users "
        f"({evaluation.resamples:,} resamples)"
    )


def _means(evaluation: Evaluation, view: str, metric: str) -> str:
    header = [f"{_TITLES[metric]}, {view}", *(f"n={n}" for n in evaluation.sizes)]
    rows = [
        [method]
        + [
            f"{cell.mean:.4f} ±{(cell.high - cell.low) / 2:.4f}"
            for cell in evaluation.row(method, view, metric)
        ]
        for method in evaluation.methods
    ]
    return _grid([header, *rows])


def _differences(evaluation: Evaluation, method: str) -> str:
    """Masked nDCG@10 of one method minus each baseline, in per cent of the baseline."""
    header = [f"{method} minus, nDCG@10, masked, %", *(f"n={n}" for n in evaluation.sizes)]
    rows = []
    for against in [*evaluation.baselines, BEST_ON_VALIDATION, BEST_ON_TEST]:
        found = [
            d
            for d in evaluation.differences
            if (d.method, d.against, d.view, d.metric) == (method, against, "masked", "ndcg@10")
        ]
        rows.append([against, *(_percent(d) for d in found)])
    note = "paired on the same users; [95 % interval]; * where 0 is outside of it"
    return f"{_grid([header, *rows])}\n{note}"


def _percent(d: Difference) -> str:
    if d.relative == 0.0:
        return f"{d.mean:+.4f}"
    scale = 100.0 * d.relative / d.mean
    star = "*" if d.low > 0 or d.high < 0 else " "
    return f"{100 * d.relative:+.1f} [{scale * d.low:+.1f}, {scale * d.high:+.1f}]{star}"


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
