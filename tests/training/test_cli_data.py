"""`recsvc-train data`, as a process: output, exit codes, errors in one line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from training import cli

COMMAND = [sys.executable, "-c", "from training.cli import main; main()"]
GOOD = "user_id,item_id,rating\na,1,5\nb,2,4\na,2,3\nb,3,1\n"


def recsvc_train(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A small data set."""
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "interactions.csv").write_text(GOOD)
    return directory


def test_generate_import_describe(tmp_path: Path) -> None:
    """The three commands work after one another; --json prints one document and nothing else."""
    made = recsvc_train("data", "synth", "--out", tmp_path / "s", "--users", 50, "--items", 40,
                        "--interactions", 500, "--ratings", "--seed", 3)  # fmt: skip
    assert (made.returncode, made.stdout) == (0, f"500 interactions written to {tmp_path / 's'}\n")
    assert "generating interactions: 500 of 500" in made.stderr
    brought = recsvc_train("data", "import", tmp_path / "s", "--out", tmp_path / "i", "--json")
    assert brought.returncode == 0
    facts = json.loads(brought.stdout)
    assert (facts["users"], facts["interactions"]) == (50, 500)
    described = recsvc_train("data", "describe", tmp_path / "i", "--json")
    again = json.loads(described.stdout)
    assert (again["sha256"], again["guesses"]) == (facts["sha256"], [])
    assert facts["guesses"]


def test_bad_input_is_one_line_and_exit_code_2(shop: Path, tmp_path: Path) -> None:
    """A person gets the place and the remedy; nothing is written."""
    (shop / "interactions.csv").write_text(GOOD + "c,3,x\n")
    done = recsvc_train("data", "import", shop, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"error: {shop}/interactions.csv, line 6, column 'rating', value 'x': not a number; "
        "write a plain number, or leave bad rows out with --on-bad-row skip"
    )
    assert not (tmp_path / "out").exists()
    skipped = recsvc_train(
        "data", "import", shop, "--out", tmp_path / "out", "--on-bad-row", "skip"
    )
    assert skipped.returncode == 0
    assert "1 rows: interactions.csv: not a number in 'rating'" in skipped.stdout


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process."""
    code = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


WRONG = [
    (("data", "describe"), "error: Missing argument 'directory'"),
    (("data", "describe", "x", "--nix"), "error: No such option: --nix"),
    (("data", "describe", "/nonexistent"), "error: /nonexistent does not exist; give a data set's"),
    (("data", "fetch", "netflix"), "'netflix' is not one of 'movielens-100k'"),
    (
        ("data", "import", "x", "--out", "y", "--on-bad-row", "maybe"),
        "'maybe' is not one of 'fail'",
    ),
    (("data", "synth", "--out", "y", "--users", "many"), "error: Invalid value for '--users'"),
    (("data", "synth", "--out", "y", "--seed", "-1"), "equal to 0. See"),
    (("fit", "--data", "x", "--registry", "y", "--seed", "-1"), "Invalid value for '--seed'"),
    (("retrain", "--once", "--data", "x", "--registry", "y", "--archive", __file__), "cannot be a"),
    (("data", "synth", "--out", "y", "--users", "1"), "error: --users 1: at least 2 is needed"),
    (("data", "nix"), "error: No such command 'nix'. See `recsvc-train data --help`."),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_command_lines(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    """A wrong command line ends with exit code 2 and one line that names what is wrong."""
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_describe_writes_what_it_guessed(capsys: pytest.CaptureFixture[str], shop: Path) -> None:
    """--write makes a dataset.toml, once; --force makes it again, and means nothing alone."""
    code, out, err = call(capsys, "data", "describe", shop, "--write", "--json")
    assert code == 0
    assert json.loads(out)["written"] == str(shop / "dataset.toml")
    assert err == f"written to {shop / 'dataset.toml'}\n"
    assert 'positive = "value >= 4"' in (shop / "dataset.toml").read_text()
    code, _, err = call(capsys, "data", "describe", shop, "--write")
    assert code == 2
    assert err.startswith(f"error: {shop / 'dataset.toml'} exists already; --force replaces it")
    code, out, _ = call(capsys, "data", "describe", shop, "--write", "--force")
    assert (code, "guessed" in out) == (0, False)
    assert call(capsys, "data", "describe", shop, "--force")[0] == 2


@pytest.mark.parametrize("arguments", [(), ("data",), ("data", "import", "--help")])
def test_help(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """A bare command shows its help on standard output."""
    _, out, err = call(capsys, *arguments)
    assert out.startswith("Usage: recsvc-train")
    assert err == ""


def test_fetch_that_is_there_already(
    capsys: pytest.CaptureFixture[str], shop: Path, tmp_path: Path
) -> None:
    """A fetch of what is there says so, with its source and terms."""
    out_path = tmp_path / "ml"
    call(capsys, "data", "import", shop, "--out", out_path)
    (out_path / "TERMS.txt").write_text("Source: elsewhere\n")
    code, out, _ = call(capsys, "data", "fetch", "movielens-100k", "--out", out_path)
    assert code == 0
    assert out.startswith(f"{out_path} (was there already)\nSource: elsewhere\n")
    assert "may not be redistributed" in out
    _, out, _ = call(capsys, "data", "fetch", "movielens-100k", "--out", out_path, "--json")
    document: dict[str, Any] = json.loads(out)
    assert (document["already_there"], document["source"]) == (True, "elsewhere")


def test_a_bug_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw keeps its traceback and says that it is a bug."""

    def broken(**_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(cli, "app", broken)
    code, _, err = call(capsys, "data")
    assert code == 1
    assert "Traceback" in err
    assert err.splitlines()[-1] == "error: unexpected KeyError: 'surprise'. This is a bug."


def test_ctrl_c_is_exit_code_130_and_leaves_nothing(tmp_path: Path) -> None:
    """Interrupted, a command says so in one line, and no half-written output stays."""
    command = [*COMMAND, "data", "synth", "--out", str(tmp_path / "s"), "--users", "50000"]
    command += ["--items", "20000", "--interactions", "9000000"]
    deadline = time.monotonic() + 60
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not list(tmp_path.glob(".s.*/interactions.parquet")):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == []
