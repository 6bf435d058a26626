"""The schedule: cron expressions are checked, runs are processes, a signal ends it."""

import signal
import subprocess
import sys

import pytest

from training.errors import SettingError
from training.schedule import parse_cron, run_once


@pytest.mark.parametrize("expression", ["", "every night", "61 * * * *", "* * * *"])
def test_a_wrong_expression_is_refused_with_an_example(expression: str) -> None:
    """The message repeats what was given and shows five fields."""
    with pytest.raises(SettingError, match=r"--cron .*15 3 \* \* \*"):
        parse_cron(expression)


def test_a_run_is_a_process_whose_exit_code_is_told() -> None:
    """A failing run is reported, not raised."""
    said: list[str] = []
    assert run_once(["retrain"], said.append) == 2
    assert said == ["run starts", "run ended with exit code 2"]


def test_a_signal_ends_the_waiting_command() -> None:
    """`retrain --cron` waits for its time, says when that is, and ends on SIGTERM with 0."""
    command = [sys.executable, "-c", "from training.cli import main; main()", "retrain"]
    command += ["--cron", "0 0 1 1 *", "--data", "d", "--registry", "r", "--archive", "a"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "next run" in line
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    process.stderr.close()
