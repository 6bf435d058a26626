"""Show how far a long command is: a bar on a terminal, plain lines elsewhere.

Knows nothing of what is being done. It writes to standard error, so that standard output holds
results alone.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

PLAIN_EVERY_S = 5.0


class Tracker(Protocol):
    """What a long command reports to."""

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Count `n` more steps; `note`, a figure to show beside them, stays until replaced."""


@contextmanager
def progress(
    title: str,
    total: int | None = None,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
    every_s: float = PLAIN_EVERY_S,
) -> Iterator[Tracker]:
    """Report progress while a block runs.

    Args:
        title: what is being done.
        total: steps in all, where known.
        stream: standard error unless given.
        clock: seconds that only grow.
        every_s: least time between two plain lines.
    """
    out = sys.stderr if stream is None else stream
    if out.isatty():
        with _bar(title, total, out) as bar:
            yield bar
    else:
        lines = _Lines(title, total, out, clock, every_s)
        yield lines
        lines.finish()


class _Lines:
    """Plain lines: the first at once, then at most one in `every_s`, and the last."""

    def __init__(
        self,
        title: str,
        total: int | None,
        out: TextIO,
        clock: Callable[[], float],
        every_s: float,
    ) -> None:
        self._title, self._total, self._out = title, total, out
        self._clock, self._every_s = clock, every_s
        self._done, self._note = 0, ""
        self._started_s = self._shown_s = clock()
        out.write(f"{title} ...\n")
        out.flush()

    def advance(self, n: int = 1, note: str | None = None) -> None:
        self._done += n
        self._note = self._note if note is None else note
        if self._clock() - self._shown_s >= self._every_s:
            self._show()

    def finish(self) -> None:
        self._show(end=f" in {self._clock() - self._started_s:.1f} s")

    def _show(self, end: str = "") -> None:
        self._shown_s = self._clock()
        of_total = f" of {self._total}" if self._total is not None else ""
        count = f" {self._done}{of_total}" if self._done or self._total else " done"
        note = f", {self._note}" if self._note else ""
        self._out.write(f"{self._title}:{count}{end}{note}\n")
        self._out.flush()


@contextmanager
def _bar(title: str, total: int | None, out: TextIO) -> Iterator[Tracker]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )

    class Bar:
        def __init__(self, shown: Progress, task: TaskID) -> None:
            self._shown, self._task = shown, task

        def advance(self, n: int = 1, note: str | None = None) -> None:
            self._shown.advance(self._task, n)
            if note is not None:
                self._shown.update(self._task, note=note)

    with Progress(*columns, console=Console(file=out)) as shown:
        yield Bar(shown, shown.add_task(title, total=total, note=""))
