"""The circuit breaker against a clock that the test moves."""

from recsvc.state.breaker import Breaker


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def opened() -> tuple[Breaker, Clock]:
    """A breaker that three failures have just opened."""
    clock = Clock()
    breaker = Breaker(failures=3, reset_s=10.0, clock=clock)
    for _ in range(3):
        assert breaker.allow()
        breaker.fail()
    return breaker, clock


def test_it_opens_after_consecutive_failures() -> None:
    """The last failure of the limit opens it."""
    breaker, _ = opened()
    assert breaker.is_open
    assert not breaker.allow()


def test_a_success_in_between_keeps_it_closed() -> None:
    """Failures that are not consecutive do not add up."""
    breaker = Breaker(failures=2, reset_s=10.0, clock=Clock())
    for outcome in (breaker.fail, breaker.succeed, breaker.fail):
        assert breaker.allow()
        outcome()
    assert not breaker.is_open


def test_after_the_pause_one_call_probes() -> None:
    """Half open, a single call passes and the others are refused."""
    breaker, clock = opened()
    clock.now_s = 9.9
    assert not breaker.allow()
    clock.now_s = 10.0
    assert [breaker.allow() for _ in range(3)] == [True, False, False]


def test_a_probe_that_succeeds_closes_it() -> None:
    """After a good probe all calls pass again."""
    breaker, clock = opened()
    clock.now_s = 10.0
    assert breaker.allow()
    breaker.succeed()
    assert not breaker.is_open
    assert breaker.allow()


def test_a_probe_that_fails_opens_it_for_another_pause() -> None:
    """One failed probe is enough, and the pause begins anew."""
    breaker, clock = opened()
    clock.now_s = 10.0
    assert breaker.allow()
    breaker.fail()
    clock.now_s = 19.9
    assert not breaker.allow()
    clock.now_s = 20.0
    assert breaker.allow()


def test_a_cancelled_probe_leaves_room_for_the_next() -> None:
    """A probe whose caller went away does not block the breaker for ever."""
    breaker, clock = opened()
    clock.now_s = 10.0
    assert breaker.allow()
    breaker.abandon()
    assert breaker.is_open
    assert breaker.allow()
