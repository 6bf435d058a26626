"""The page: an evaluation's document through a Jinja template, with everything inside one file.

Knows nothing of how figures came about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.evaluate import BEST_ON_TEST, BEST_ON_VALIDATION
from training.report.charts import COLOURS, Plot, lead, looks, quality
from training.report.document import Document, metric_title
from training.report.words import (
    Finding,
    change,
    change_interval,
    findings,
    percent,
    percent_interval,
)


@dataclass(frozen=True, slots=True)
class Mark:
    """One entry of a table: its text and how it is shown."""

    text: str
    tone: str = ""
    interval: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a heading row and named rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, bool, tuple[Mark, ...]], ...]
    """Name, whether it is one of our own methods, entries."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """All that the page says of one result."""

    anchor: str
    title: str
    subtitle: str
    findings: tuple[Finding, ...]
    plots: tuple[Plot, ...]
    figures: tuple[Table, ...]
    differences: tuple[Table, ...]
    facts: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    """What each method chose, by method and seed."""


def render(result: Mapping[str, Any]) -> str:
    """One result as a page.

    Args:
        result: as `training.evaluate.Evaluation.to_json` gives it; `cells` must be there, what
            else is missing is left out of the page.

    Raises:
        KeyError: the document has no cells, or a cell lacks a field.
    """
    return render_all([result])


def render_all(
    results: Sequence[Mapping[str, Any]], skipped: Mapping[str, str] | None = None
) -> str:
    """Several results as one page, with those that were skipped and why."""
    sections = [_section(i, Document(result)) for i, result in enumerate(results)]
    environment = Environment(
        loader=PackageLoader("training.report", "."), autoescape=True, undefined=StrictUndefined
    )
    names = list(dict.fromkeys(str(Document(r).dataset.get("name", "")) for r in results))
    return environment.get_template("page.html").render(
        heading=f"Evaluation on {', '.join(names)}" if any(names) else "Evaluation",
        sections=sections,
        skipped=dict(skipped or {}),
        colours=range(COLOURS),
    )


def _section(position: int, document: Document) -> Section:
    series = looks(document)
    first = document.metrics[0]
    plots: list[Plot | None] = []
    for view in document.views:
        plots += [quality(document, view, first, series), lead(document, view, series)]
    differences = [
        _differences(document, method, view) for method in document.own for view in document.views
    ]
    return Section(
        anchor=f"p{position}",
        title=document.protocol,
        subtitle=_subtitle(document),
        findings=tuple(findings(document)),
        plots=tuple(p for p in plots if p is not None and p.legend),
        figures=tuple(t for t in _tables(document) if t.rows),
        differences=tuple(t for t in [*differences, _one_click(document)] if t.rows),
        facts=_facts(document),
        settings=_settings(document),
    )


def _subtitle(document: Document) -> str:
    parts = []
    if document.n_users is not None:
        parts.append(f"{document.n_users:,} test users")
    if seeds := document.facts.get("seeds"):
        parts.append("1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds")
    if document.dataset.get("positive_rule"):
        parts.append(f"positive: {document.dataset['positive_rule']}")
    return ", ".join(parts)


def _columns(document: Document) -> tuple[str, ...]:
    return tuple(f"n={n}" for n in document.sizes) if len(document.sizes) > 1 else ("mean",)


def _tables(document: Document) -> list[Table]:
    """A table a view and metric; of one size, a table a view with a column a metric."""
    views, metrics = document.views, document.metrics
    if len(document.sizes) == 1:
        (n,) = document.sizes
        return [
            _figures(document, view, [(metric_title(m), m, n) for m in metrics], view)
            for view in views
        ]
    return [
        _figures(
            document,
            view,
            [(f"n={n}", metric, n) for n in document.sizes],
            f"{metric_title(metric)}, {view}",
        )
        for view in views
        for metric in metrics
    ]


def _figures(
    document: Document, view: str, columns: Sequence[tuple[str, str, int]], title: str
) -> Table:
    """Means with half of their intervals; the best of each column marked.

    Args:
        document: the result.
        view: which of its views.
        columns: heading, metric and size of each.
        title: of the table.
    """
    methods = [*document.baselines, *document.own]
    table: dict[str, list[Mark]] = {method: [] for method in methods}
    for _, metric, n in columns:
        cells = {m: document.row(m, view, metric).get(n) for m in methods}
        means = [cell["mean"] for cell in cells.values() if cell is not None]
        best = (min if document.falls(metric) else max)(means, default=None)
        for method, cell in cells.items():
            if cell is None:
                table[method].append(Mark("–"))
                continue
            tone = "best" if cell["mean"] == best else ""
            half = (cell["high"] - cell["low"]) / 2
            table[method].append(Mark(f"{cell['mean']:.4f}", tone, f"±{half:.4f}"))
    rows = [
        (method, method in document.own, tuple(marks))
        for method, marks in table.items()
        if any(mark.text != "–" for mark in marks)
    ]
    return Table(title, tuple(heading for heading, _, _ in columns), tuple(rows))


def _differences(document: Document, method: str, view: str) -> Table:
    """One of our methods minus every baseline, in per cent, paired."""
    metric = document.metrics[0]
    marked = []
    for against in [*document.baselines, BEST_ON_VALIDATION, BEST_ON_TEST]:
        row = document.differences(method, against, view, metric)
        if row:
            entries = tuple(
                Mark(percent(row[n]), document.verdict(row[n]), percent_interval(row[n]))
                if n in row
                else Mark("–")
                for n in document.sizes
            )
            marked.append((against, False, entries))
    title = f"{method} minus each baseline, {metric_title(metric)}, {view}"
    note = "Paired on the same users, 95 % interval; ▲ ahead, ▼ behind, unmarked: undecided."
    return Table(title, _columns(document), tuple(marked), note)


def _one_click(document: Document) -> Table:
    """n=1 minus n=0 of every method and view."""
    metric = document.metrics[0]
    tones = {"better": "ahead", "worse": "behind", "undecided": "undecided"}
    found = {
        (row["method"], row["view"]): Mark(change(row), tones[row["verdict"]], change_interval(row))
        for row in document.facts.get("one_click", ())
        if row["metric"] == metric
    }
    rows = tuple(
        (m, m in document.own, tuple(found.get((m, v), Mark("–")) for v in document.views))
        for m in [*document.baselines, *document.own]
        if any((m, v) in found for v in document.views)
    )
    note = "▲ one click makes the average list better, ▼ worse, unmarked: undecided."
    title = f"One click: n=1 minus n=0, {metric_title(metric)}"
    return Table(title, tuple(document.views), rows, note)


def _facts(document: Document) -> tuple[tuple[str, str], ...]:
    """Data, settings and versions as names and values."""
    found = [(f"data: {k.replace('_', ' ')}", _text(v)) for k, v in document.dataset.items()]
    for group in ("settings", "versions"):
        values = dict(document.facts.get(group, {}))
        found += [(f"{group}: {k.replace('_', ' ')}", _text(v)) for k, v in values.items()]
    for key in ("window", "seeds", "resamples"):
        if key in document.facts:
            found.append((key, _text(document.facts[key])))
    return tuple(found)


def _settings(document: Document) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            f"{run['method']}, seed {run['seed']} "
            f"(fit {run['fit_s']:.0f} s, score {run['score_s']:.0f} s)",
            ", ".join(f"{k}: {_text(v)}" for k, v in run["settings"].items()) or "none",
        )
        for run in document.facts.get("runs", ())
    )


def _text(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, Sequence):
        return ", ".join(_text(v) for v in value)
    return str(value)
