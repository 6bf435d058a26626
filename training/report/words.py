"""What a result says, in words: first where we lose, then where it is open, then where we lead.

Knows nothing of HTML. Compared is with the baseline that is best on the test users at that size,
which is harder to beat than the one that validation users would have chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from training.report.document import Document, Row, Verdict, metric_title


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim, where it holds, and the figures that it rests on."""

    tone: Verdict
    claim: str
    place: str
    figures: tuple[str, ...]


_CLAIMS = {
    "behind": "is behind the best baseline",
    "seems behind": "seems behind the best baseline, not certainly",
    "seems ahead": "seems ahead of the best baseline, not certainly",
    "ahead": "is ahead of the best baseline",
}
_CLICKS: dict[str, tuple[Verdict, str]] = {
    "worse": ("behind", "One click makes the average list worse with"),
    "undecided": ("undecided", "It is open what one click does to the average list with"),
    "better": ("ahead", "One click makes the average list better with"),
}


def findings(document: Document) -> list[Finding]:
    """All claims about the methods of the headline, what hurts first."""
    found: list[Finding] = []
    if not document.baselines or not document.own:
        return found
    for method in document.headline:
        for view in document.views:
            for metric in document.metrics:
                found += _against_best(document, method, view, metric)
        found += _one_click(document, method)
    order: list[Verdict] = ["behind", "undecided", "ahead"]
    return sorted(found, key=lambda f: order.index(f.tone))


def _against_best(document: Document, method: str, view: str, metric: str) -> list[Finding]:
    """Up to one claim of each kind; of metrics other than the first, losses alone."""
    by_claim: dict[str, list[Row]] = {}
    for difference in document.leads(method, view, metric).values():
        by_claim.setdefault(_kind(document, difference), []).append(difference)
    found = []
    for kind, claim in _CLAIMS.items():
        rows = by_claim.get(kind, [])
        if rows and (kind == "behind" or metric == document.metrics[0]):
            tone: Verdict = "undecided" if kind.startswith("seems") else document.verdict(rows[0])
            place = _place(document, metric, view)
            found.append(Finding(tone, f"{method} {claim}", place, _figures(rows, document)))
    return found


def _place(document: Document, metric: str, view: str) -> str:
    direction = " (lower is better)" if document.falls(metric) else ""
    return f"{metric_title(metric)}{direction}, {view}"


def _kind(document: Document, difference: Row) -> str:
    """`ahead`, `behind`, or which of them it seems."""
    verdict = document.verdict(difference)
    if verdict != "undecided":
        return verdict
    better = (difference["mean"] >= 0) != document.falls(difference["metric"])
    return "seems ahead" if better else "seems behind"


def _figures(rows: Sequence[Row], document: Document) -> tuple[str, ...]:
    """Sizes with the difference in per cent, its interval and the rival."""
    several = len(document.sizes) > 1
    return tuple(
        (f"n={row['n']} " if several else "")
        + f"{percent(row)} {percent_interval(row)} {row['against_method']}"
        for row in rows
    )


def percent(row: Row) -> str:
    """A difference in per cent of the other's mean; as it is where that is 0."""
    return f"{100 * row['relative']:+.1f} %" if _scale(row) else f"{row['mean']:+.4f}"


def percent_interval(row: Row) -> str:
    """The interval of `percent`; empty where there is none."""
    scale = _scale(row)
    return f"[{scale * row['low']:+.1f}, {scale * row['high']:+.1f}]" if scale else ""


def _scale(row: Row) -> float:
    """Per cent a unit of the difference."""
    return 100.0 * row["relative"] / row["mean"] if row["mean"] and row["relative"] else 0.0


def _one_click(document: Document, method: str) -> list[Finding]:
    metric = document.metrics[0]
    found = []
    for row in document.facts.get("one_click", ()):
        if (row["method"], row["metric"]) == (method, metric):
            tone, claim = _CLICKS[row["verdict"]]
            place = _place(document, metric, row["view"])
            found.append(
                Finding(
                    tone, f"{claim} {method}", place, (f"{change(row)} {change_interval(row)}",)
                )
            )
    return found


def change(row: Row) -> str:
    """A plain difference."""
    return f"{row['mean']:+.4f}"


def change_interval(row: Row) -> str:
    """Its interval."""
    return f"[{row['low']:+.4f}, {row['high']:+.4f}]"
