"""Plots as inline SVG whose colours are the page's CSS variables.

Knows nothing of tables or sentences. matplotlib draws in marker colours that no plot would use;
they are replaced by variables afterwards, so that a plot follows the page's light or dark scheme.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.report.document import Document, Row, metric_title

MARKERS = (
    ("o", "●"),
    ("s", "■"),
    ("^", "▲"),
    ("D", "◆"),
    ("v", "▼"),
    ("P", "✚"),
    ("X", "✖"),
)
"""matplotlib's marker and the character that stands for it in a legend."""
COLOURS = 12
"""Series colours of the page; further series start again with another marker."""
_INK, _GRID = "#fe0001", "#fe0002"
_FAR_BELOW = 0.6
_MAX_NAME = 28
_SIZE_INCHES = (8.0, 4.2)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11.0,
    "text.parse_math": False,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True, slots=True)
class Series:
    """How one method looks in every plot of a page."""

    method: str
    colour: int
    """Position of the CSS variable."""
    marker: str
    glyph: str
    is_own: bool

    @property
    def paint(self) -> str:
        """The marker colour that stands for the variable."""
        return f"#fe01{self.colour:02x}"


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot and what the page says about it."""

    title: str
    svg: str
    legend: tuple[Series, ...]
    note: str


def looks(document: Document) -> list[Series]:
    """A colour and a marker for every method; our own take the first ones."""
    ordered = [*document.own, *document.baselines]
    found = []
    for i, method in enumerate(ordered):
        marker, glyph = MARKERS[(i + i // COLOURS) % len(MARKERS)]
        found.append(Series(method, i % COLOURS, marker, glyph, method in document.own))
    return found


def quality(document: Document, view: str, metric: str, series: Sequence[Series]) -> Plot:
    """A metric by method: against the number of interactions, or in one row each of one size."""
    shown, left_out = _on_scale(document, view, metric, series)
    name = f"{metric_title(metric)}, {view}"
    rows = {s: document.row(s.method, view, metric) for s in shown}
    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"{document.protocol} {name}"}):
        if len(document.sizes) > 1:
            figure = _lines(document, rows, metric_title(metric))
        else:
            figure = _dots(rows, metric_title(metric))
        svg = _svg(figure, f"{name} by method")
    direction = "lower is better" if document.falls(metric) else "higher is better"
    drawn = "Bands" if len(document.sizes) > 1 else "Bars"
    note = f"{drawn} are 95 % intervals over users; {direction}."
    if left_out:
        note += f" Too far off to be drawn: {', '.join(left_out)}."
    return Plot(name, svg, tuple(shown), note)


def _lines(document: Document, rows: Mapping[Series, Mapping[int, Row]], label: str) -> Figure:
    """A line and an interval band a method."""
    positions = {n: i for i, n in enumerate(document.sizes)}
    figure, axes = _axes()
    order = list(rows)[::-1]
    order.sort(key=lambda s: s.is_own)  # our own lines last, so that they lie on top
    for s in order:
        row = rows[s]
        x = [positions[n] for n in row]
        low, high, mean = ([c[k] for c in row.values()] for k in ("low", "high", "mean"))
        width, alpha = (2.6, 0.18) if s.is_own else (1.4, 0.06)
        axes.fill_between(x, low, high, color=s.paint, alpha=alpha, linewidth=0)
        axes.plot(x, mean, color=s.paint, marker=s.marker, linewidth=width, markersize=6)
    axes.set_xticks(range(len(document.sizes)), [str(n) for n in document.sizes])
    axes.set_xlabel(document.size_title)
    axes.set_ylabel(label)
    return figure


def _dots(rows: Mapping[Series, Mapping[int, Row]], label: str) -> Figure:
    """A dot and an interval a method, best on top."""
    figure, axes = _axes(height=1.0 + 0.3 * len(rows))
    for y, (s, row) in enumerate(rows.items()):
        (cell,) = row.values()
        axes.hlines([y], cell["low"], cell["high"], color=s.paint, linewidth=2.4)
        axes.plot([cell["mean"]], [y], color=s.paint, marker=s.marker, markersize=7)
    axes.set_yticks(range(len(rows)), [_short(s.method) for s in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=True, axis="x")
    axes.set_xlabel(label)
    return figure


def _short(name: str) -> str:
    """A name that leaves room for the plot; the legend has it whole."""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def lead(document: Document, view: str, series: Sequence[Series]) -> Plot | None:
    """Our methods minus the best baseline in per cent, with paired intervals.

    None where there is no such difference, or one size alone, which a table says better.
    """
    metric = document.metrics[0]
    own = [s for s in series if s.is_own and document.leads(s.method, view, metric)]
    if not own or len(document.sizes) == 1:
        return None
    positions = {n: i for i, n in enumerate(document.sizes)}
    name = f"Ours minus the best baseline, {metric_title(metric)}, {view}"
    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"{document.protocol} {name}"}):
        figure, axes = _axes(height=3.2)
        axes.axhline(0.0, color=_INK, linewidth=1.2)
        for k, s in enumerate(own):
            shift = 0.14 * (k - (len(own) - 1) / 2)
            for n, d in document.leads(s.method, view, metric).items():
                other = d["mean"] / d["relative"] if d["relative"] else 1.0
                low, high, mean = (100.0 * d[key] / other for key in ("low", "high", "mean"))
                at = [positions[n] + shift]
                axes.vlines(at, min(low, high), max(low, high), color=s.paint, linewidth=2.4)
                axes.plot(at, [mean], color=s.paint, marker=s.marker, markersize=7)
        axes.set_xticks(range(len(document.sizes)), [str(n) for n in document.sizes])
        axes.set_xlabel(document.size_title)
        axes.set_xlim(-0.5, len(document.sizes) - 0.5)
        axes.set_ylabel("% of the baseline")
        svg = _svg(figure, f"{name}, in per cent")
    side = "below" if document.falls(metric) else "above"
    note = f"Paired on the same users, 95 % intervals; ahead where {side} the line."
    return Plot(name, svg, tuple(own), note)


def _on_scale(
    document: Document, view: str, metric: str, series: Sequence[Series]
) -> tuple[list[Series], list[str]]:
    """Methods in the order of their last figure, without those that would flatten all others."""
    ends = {}
    for s in series:
        row = document.row(s.method, view, metric)
        if row:
            ends[s] = float(list(row.values())[-1]["mean"])
    if not ends:
        return [], []
    falls = document.falls(metric)
    best = min(ends.values()) if falls else max(ends.values())

    def is_far(s: Series) -> bool:
        means = [c["mean"] for c in document.row(s.method, view, metric).values()]
        far = min(means) > best / _FAR_BELOW if falls else max(means) < best * _FAR_BELOW
        return far and not s.is_own

    ordered = sorted(ends, key=ends.__getitem__, reverse=not falls)
    near = [s for s in ordered if not is_far(s)]
    return near, [s.method for s in ordered if s not in near]


def _axes(height: float = _SIZE_INCHES[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_SIZE_INCHES[0], height), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="x")
    return figure, axes


def _svg(figure: Figure, label: str) -> str:
    """The figure as an SVG element for a page: no prolog, no metadata, CSS variables as colours."""
    text = io.StringIO()
    nothing: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(_INK, "var(--ink)").replace(_GRID, "var(--grid)")
    svg = re.sub("#fe01([0-9a-f]{2})", lambda m: f"var(--s{int(m[1], 16)})", svg)
    svg = re.sub('font-family: [^;"]*', "font-family: var(--sans)", svg)
    svg = re.sub(r'<svg (.*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    safe = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{safe}" ', 1)
