"""Reading an evaluation's JSON document: rows by method, view, metric and size.

Knows nothing of HTML or of plots. Of the document's keys only `cells` must be there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.evaluate import BEST_ON_TEST

_WORDS = {"hr": "HR", "mae": "MAE", "ndcg": "nDCG", "recall": "Recall", "rmse": "RMSE"}

Row = Mapping[str, Any]
Verdict = Literal["behind", "undecided", "ahead"]


def metric_title(metric: str) -> str:
    """A metric's name for people: nDCG@10 for ndcg@10."""
    name, dash, rest = metric.partition("-")
    word, at, depth = name.partition("@")
    return f"{_WORDS.get(word, word)}{at}{depth}{dash}{rest}"


@dataclass(frozen=True)
class Document:
    """A result, with what is asked of it by name."""

    facts: Mapping[str, Any]

    @property
    def cells(self) -> Sequence[Row]:
        return list(self.facts["cells"])

    @property
    def protocol(self) -> str:
        return str(self.facts.get("protocol", "evaluation"))

    @property
    def dataset(self) -> Mapping[str, Any]:
        return dict(self.facts.get("dataset", {}))

    def _named(self, key: str, of: str) -> list[Any]:
        """What the document lists, or what its cells hold, in their order."""
        listed = self.facts.get(key)
        return list(listed or dict.fromkeys(cell[of] for cell in self.cells))

    @property
    def methods(self) -> list[str]:
        return self._named("methods", "method")

    @property
    def views(self) -> list[str]:
        return self._named("views", "view")

    @property
    def metrics(self) -> list[str]:
        return self._named("metrics", "metric")

    @property
    def sizes(self) -> list[int]:
        return self._named("sizes", "n")

    @property
    def size_title(self) -> str:
        return str(self.facts.get("size_title", "interactions"))

    @property
    def baselines(self) -> list[str]:
        return list(self.facts.get("baselines", ()))

    @property
    def own(self) -> list[str]:
        """Methods that are no baselines, the product's own first."""
        others = [m for m in self.methods if m not in self.baselines]
        return sorted(others, key=lambda m: not m.startswith("ours"))

    @property
    def headline(self) -> list[str]:
        """Our methods that are spoken of at the top: those named `ours`, or all where none is."""
        return [m for m in self.own if m.startswith("ours")] or self.own

    @property
    def n_users(self) -> int | None:
        """Test users that the figures are means over."""
        counts = [int(v) for v in dict(self.facts.get("users", {})).values()]
        if not counts:
            return None
        return max(counts) if self.facts.get("same_users") else sum(counts)

    def falls(self, metric: str) -> bool:
        """Whether a metric is an error: lower is better."""
        return metric in self.facts.get("lower_is_better", ())

    def row(self, method: str, view: str, metric: str) -> dict[int, Row]:
        """A method's cells by size."""
        return {
            c["n"]: c
            for c in self.cells
            if (c["method"], c["view"], c["metric"]) == (method, view, metric)
        }

    def differences(self, method: str, against: str, view: str, metric: str) -> dict[int, Row]:
        """One method minus another (or a best baseline), by size."""
        wanted = (method, against, view, metric)
        return {
            d["n"]: d
            for d in self.facts.get("differences", ())
            if (d["method"], d["against"], d["view"], d["metric"]) == wanted
        }

    def verdict(self, difference: Row) -> Verdict:
        """`ahead`, `behind` or `undecided`, as the interval lies."""
        low, high = difference["low"], difference["high"]
        if low <= 0 <= high:
            return "undecided"
        return "ahead" if (low > 0) != self.falls(difference["metric"]) else "behind"

    def leads(self, method: str, view: str, metric: str) -> dict[int, Row]:
        """A method minus the baseline that is best on the test users, by size."""
        return self.differences(method, BEST_ON_TEST, view, metric)
