"""Run a command on a cron schedule, one run at a time, until SIGTERM or Ctrl-C.

Knows nothing of what it runs. Each run is a process of its own: a run that fails, leaks or is
killed leaves the schedule standing.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from training.errors import SettingError

Say = Callable[[str], None]


def parse_cron(expression: str) -> CronTrigger:
    """A five-field cron expression, in UTC.

    Raises:
        SettingError: it is none; the message shows an example.
    """
    try:
        return CronTrigger.from_crontab(expression, timezone="UTC")
    except ValueError as exc:
        raise SettingError(
            f"--cron {expression!r} is no cron expression ({exc}); five fields are wanted, "
            "minute hour day month weekday, for example '15 3 * * *'"
        ) from exc


def run_on_schedule(expression: str, arguments: Sequence[str], say: Say) -> None:
    """Run `recsvc-train ARGUMENTS` whenever the expression fires. Returns when told to stop.

    A time that comes while a run still goes on is left out.

    Args:
        expression: five cron fields, UTC.
        arguments: of `recsvc-train`.
        say: told every start and end.

    Raises:
        SettingError: the expression is none.
    """
    trigger = parse_cron(expression)
    stop = threading.Event()
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(run_once, trigger, args=[arguments, say], max_instances=1, coalesce=True)

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {s: signal.signal(s, on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
    scheduler.start()
    say(f"waiting; next run {scheduler.get_jobs()[0].next_run_time.isoformat()}")
    try:
        stop.wait()
        say("stopping after the run in progress")
    finally:
        scheduler.shutdown(wait=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def run_once(arguments: Sequence[str], say: Say) -> int:
    """Run `recsvc-train ARGUMENTS` in a process of its own and return its exit code."""
    command = [sys.executable, "-c", "from training.cli import main; main()", *arguments]
    say("run starts")
    code = subprocess.run(command, check=False).returncode  # noqa: S603  # our own command
    say(f"run ended with exit code {code}")
    return code
