"""The report: losses come first, everything is inside one file, and any document renders."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from training.evaluate import BEST_ON_TEST
from training.report import render, render_all
from training.report.document import Document
from training.report.words import findings

SIZES = (0, 1, 5)


def around(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}


def a_document(**more: Any) -> dict[str, Any]:
    """Ours leads at n=0, is open at n=1 and loses at n=5; one click makes lists worse."""
    levels = {"weak": (0.1, 0.1, 0.1), "strong": (0.2, 0.3, 0.4), "ours": (0.3, 0.29, 0.35)}
    place: dict[str, Any] = {"view": "masked", "metric": "ndcg@10", "users": 50}
    cells = [
        place | {"method": m, "n": n} | {"mean": v, "low": v - 0.02, "high": v + 0.02}
        for m, row in levels.items()
        for n, v in zip(SIZES, row, strict=True)
    ]
    differences = [
        {"method": "ours", "against": against, "against_method": "strong", "view": "masked"}
        | {"metric": "ndcg@10", "n": n, "relative": d / s}
        | around(d)
        for against in ("strong", BEST_ON_TEST)
        for n, d, s in zip(SIZES, (0.1, -0.01, -0.05), levels["strong"], strict=True)
    ]
    click: dict[str, Any] = {
        "method": "ours",
        "view": "masked",
        "metric": "ndcg@10",
        "verdict": "worse",
    }
    click |= {"mean": -0.01, "low": -0.015, "high": -0.005}
    return {
        "protocol": "cold-user",
        "dataset": {"name": "shop", "positive_rule": "value >= 4"},
        "sizes": list(SIZES),
        "seeds": [0],
        "users": {"0": 50},
        "baselines": ["weak", "strong"],
        "cells": cells,
        "differences": differences,
        "one_click": [click],
        **more,
    }


class Outline(HTMLParser):
    """Addresses and open tags of a page; fails on a tag that is closed out of turn."""

    _VOID = ("meta", "path", "use", "br", "link", "img", "rect", "circle", "line")

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [v or "" for k, v in attrs if k in ("href", "src", "xlink:href")]
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [v or "" for k, v in attrs if k in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    return render(a_document())


def test_what_hurts_comes_first() -> None:
    """Certain losses and harmful clicks, then what is open, then leads."""
    found = findings(Document(a_document()))
    assert [f.tone for f in found] == ["behind", "behind", "undecided", "ahead"]
    assert found[0].claim == "ours is behind the best baseline"
    assert found[0].figures == ("n=5 -12.5 % [-17.5, -7.5] strong",)
    assert found[1].claim == "One click makes the average list worse with ours"
    assert found[2].claim.startswith("ours seems behind")
    assert found[3].figures[0].startswith("n=0 +50.0 %")


def test_an_error_that_falls_is_a_lead() -> None:
    """Of metrics that are errors, a negative difference is good news."""
    document = Document(a_document(lower_is_better=["ndcg@10"], one_click=[]))
    tones = {f.figures[0].split()[0]: f.tone for f in findings(document)}
    assert tones == {"n=0": "behind", "n=1": "undecided", "n=5": "ahead"}
    assert {f.place for f in findings(document)} == {"nDCG@10 (lower is better), masked"}


def test_losses_are_above_the_plots(page: str) -> None:
    """Nobody has to scroll to learn where we lose."""
    assert page.index("ours is behind the best baseline") < page.index("<svg")


def test_the_page_needs_nothing_else(page: str) -> None:
    """No script, no address outside of the page; every tag is closed."""
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert all(address.startswith("#") for address in outline.addresses)
    assert "<script" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_plots_take_their_colours_from_the_page(page: str) -> None:
    """Every colour of a plot is a variable that the page defines, for light and for dark."""
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", page))
    defined = set(re.findall(r"--([a-z0-9]+):", page))
    assert {"s0", "s2", "ink", "grid", "sans"} <= used <= defined
    svg = page[page.index("<svg") : page.rindex("</svg>")]
    assert not re.search("#[0-9a-f]{6}", svg)
    assert "DejaVu" not in svg


def test_every_figure_is_in_a_table(page: str) -> None:
    """Also what a plot leaves out as too far off."""
    assert "Too far off to be drawn: weak" in page
    for text in ("0.1000", "0.3500", "±0.0200", "-12.5 %"):
        assert text in page


def test_names_are_escaped() -> None:
    """A data set or a method cannot put markup into the page."""
    document = a_document(dataset={"name": "<script>alert(1)</script>"})
    for cell in document["cells"]:
        cell["method"] = cell["method"].replace("ours", 'ours <b>"&')
    text = render(document)
    assert "<script" not in text
    assert "<b>" not in text.replace('<b style="color', "")


def test_cells_alone_are_enough() -> None:
    """A document without baselines, differences, data or seeds renders, and claims nothing."""
    cells = [c for c in a_document()["cells"] if c["method"] == "ours"]
    text = render({"cells": cells})
    assert "Nothing can be said" in text
    assert "0.3500" in text


def test_one_size_and_many_methods_render() -> None:
    """A protocol without sizes, with more methods than colours."""
    cells = [
        {
            "method": f"method-$x$-of-a-very-long-name-{i}",
            "view": "all",
            "metric": "mae",
            "n": 0,
            "users": 9,
        }
        | {"mean": 0.7 + i / 100, "low": 0.69 + i / 100, "high": 0.71 + i / 100}
        for i in range(30)
    ]
    text = render({"cells": cells, "lower_is_better": ["mae"], "protocol": "ratings"})
    assert "MAE, all" in text
    assert '<td class="best">0.7000' in text
    assert "method-$x$-of-a-very-long-name-9" in text
    assert ">method-$x$-of-a-very-long-n…<" in text
    assert text.count("<li") >= 30


def test_results_share_a_page() -> None:
    """Several protocols on one page, with those that could not run and why."""
    text = render_all([a_document(), a_document(protocol="time")], {"ratings": "no values"})
    assert text.count("<section") == 2
    assert 'href="#p1"' in text
    assert "ratings: no values" in text


def test_the_same_result_gives_the_same_page(page: str) -> None:
    """Nothing of the clock or of chance is in it."""
    assert render(a_document()) == page
