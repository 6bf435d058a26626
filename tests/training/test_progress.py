"""Progress of long commands: plain lines and the terminal's bar behave alike."""

import io

import pytest

from training.progress import progress


class Screen(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        """Whether a bar may be drawn."""
        return self._terminal


class Clock:
    """Seconds that move when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("terminal", [True, False])
class TestBoth:
    """What holds for the bar and for the lines."""

    def test_title_total_and_note_are_shown(self, terminal: bool) -> None:
        """The end shows what was done, how much of it, and the last figure."""
        screen = Screen(terminal=terminal)
        with progress("training", 4, stream=screen) as tracker:
            tracker.advance(3, "first 0.1")
            tracker.advance(note="best 0.35")
        text = screen.getvalue()
        assert "training" in text
        assert "4/4" in text or "4 of 4" in text
        assert "best 0.35" in text

    def test_an_error_passes_through(self, terminal: bool) -> None:
        """A failure inside is not swallowed."""
        with (
            pytest.raises(ValueError, match="inside"),
            progress("training", stream=Screen(terminal=terminal)),
        ):
            raise ValueError("inside")


def test_plain_lines_are_rate_limited() -> None:
    """The first line comes at once, others no more often than asked, the last with the time."""
    clock, screen = Clock(), Screen(terminal=False)
    with progress("reading", 100, stream=screen, clock=clock, every_s=5) as tracker:
        for _ in range(100):
            clock.now_s += 0.11
            tracker.advance()
    assert screen.getvalue().splitlines() == [
        "reading ...",
        "reading: 46 of 100",
        "reading: 92 of 100",
        "reading: 100 of 100 in 11.0 s",
    ]


def test_steps_may_be_unknown() -> None:
    """Without a total the count stands alone; without steps there is only the time."""
    screen, clock = Screen(terminal=False), Clock()
    with progress("reading", stream=screen, clock=clock) as tracker:
        tracker.advance(7)
    with progress("importing", stream=screen, clock=clock):
        clock.now_s = 2.0
    assert screen.getvalue().splitlines() == [
        "reading ...",
        "reading: 7 in 0.0 s",
        "importing ...",
        "importing: done in 2.0 s",
    ]


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output stays free for results."""
    with progress("reading"):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("reading ...\n")
