"""`recsvc-train evaluate` end to end on a small data set, and an evaluation as text and JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.cli import run
from training.evaluate import Evaluation, Measures, MethodRun
from training.protocols.table import render
from training.summary import summarise


def a_run(method: str, seed: int, level: float) -> MethodRun:
    spread_U1 = np.linspace(-0.05, 0.05, 30)[:, None]
    figures = np.full((2, 2, 30, 3), level) + spread_U1
    validation = np.array([level, level])
    return MethodRun(method, seed, figures, validation, {"l2": 1.0}, 2.0, 1.0)


def summary(runs: list[MethodRun]) -> Evaluation:
    return summarise(
        runs,
        protocol="cold-user",
        dataset={"name": "shop", "positive_rule": "every interaction"},
        window=1,
        measures=Measures((0, 1)),
        baselines=["weak", "strong"],
        versions={"numpy": "2"},
        resamples=100,
    )


@pytest.fixture
def three_methods() -> Evaluation:
    levels = {"weak": 0.1, "strong": 0.2, "ours": 0.25}
    return summary([a_run(m, s, level) for s in (0, 1) for m, level in levels.items()])


def test_seeds_are_pooled_over_users() -> None:
    """The mean is over all users of all seeds."""
    runs = [a_run("weak", 0, 0.1), a_run("weak", 1, 0.3)]
    assert summary(runs).row("weak", "masked", "ndcg@10")[0].mean == pytest.approx(0.2)


def test_a_missing_seed_is_refused() -> None:
    """A method that lacks a seed would be compared on other users."""
    with pytest.raises(ValueError, match="seed 1 was not run for strong"):
        summary([a_run("weak", 0, 0.1), a_run("strong", 0, 0.2), a_run("weak", 1, 0.1)])


def test_the_json_survives_a_round_trip(three_methods: Evaluation) -> None:
    """Every figure is plain JSON, keys included."""
    document = three_methods.to_json()
    assert json.loads(json.dumps(document)) == json.loads(json.dumps(document, sort_keys=True))
    assert document["methods"] == ["weak", "strong", "ours"]
    assert document["users"] == {"0": 30, "1": 30}


def test_the_table_has_every_method_and_difference(three_methods: Evaluation) -> None:
    """A row a method and metric; a constant lead over the best baseline is marked."""
    text = render(three_methods)
    assert text.count("\nstrong ") == 7
    line = next(row for row in text.splitlines() if row.startswith("best baseline (by valid"))
    assert line.count("+25.0 [+25.0, +25.0]*") == 2


def test_the_table_says_what_one_click_does(three_methods: Evaluation) -> None:
    """A row a method, with a verdict for each view."""
    row = next(r for r in render(three_methods).splitlines() if "+0.0000 [+0.0000" in r)
    assert row.split()[0] == "weak"
    assert row.count("undecided") == 2


def evaluate(*more: str) -> int:
    return run(["evaluate", "--seeds", "1", *more])


def test_evaluate_prints_json_for_machines(
    tastes_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is one JSON document, with progress on standard error."""
    arguments = ["--data", str(tastes_directory), "--work", str(tmp_path), "--json"]
    assert evaluate(*arguments, "--methods", "popularity,demo-pop") == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["methods"] == ["popularity", "demo-pop"]
    assert document["window"] == 3
    assert "2 of 2" in printed.err


def test_evaluate_prints_a_table(
    tastes_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --json the same comes as text."""
    arguments = ["--data", str(tastes_directory), "--work", str(tmp_path)]
    assert evaluate(*arguments, "--methods", "popularity", "--window", "2") == 0
    assert "nDCG@10, masked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "magic"], "no method 'magic'"),
        (["--window", "zero"], "--window is 'zero'"),
        (["--window", "60"], "no validation user has 75 positive interactions"),
    ],
)
def test_evaluate_refuses_what_it_cannot_do(
    tastes_directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    """Exit code 2 and one line that names the value."""
    arguments = ["--data", str(tastes_directory), "--work", str(tmp_path)]
    assert evaluate(*arguments, *flags) == 2
    assert message in capsys.readouterr().err


def test_evaluate_writes_a_page(
    tastes_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--html writes all results to one file, beside the table."""
    page = tmp_path / "new" / "page.html"
    arguments = ["--data", str(tastes_directory), "--work", str(tmp_path), "--html", str(page)]
    assert evaluate(*arguments, "--methods", "popularity", "--protocol", "all") == 0
    assert "<svg" in page.read_text()
    assert "cold-user" in page.read_text()
    assert f"page written to {page}" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_named(
    tastes_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and the path."""
    arguments = ["--data", str(tastes_directory), "--work", str(tmp_path)]
    assert evaluate(*arguments, "--methods", "nix", "--html", str(tmp_path)) == 2  # seen first
    assert f"--html {tmp_path} cannot be written" in capsys.readouterr().err
