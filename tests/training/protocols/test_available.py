"""The door to the protocols: names, flags and methods are checked, `all` skips the impossible."""

import pytest

from training.datasets import Dataset
from training.errors import DataError, SettingError
from training.evaluate import Evaluation
from training.protocols.available import (
    PROTOCOLS,
    find_protocols,
    requested_runs,
    run_protocols,
)
from training.protocols.cold_user import ColdUserProtocol
from training.protocols.protocol import Request


class Impossible:
    """A protocol that no data set allows."""

    name = "impossible"
    summary = "nobody"
    options = ("cut",)
    methods = ("popularity", "oracle")

    def run(self, request: Request) -> Evaluation:
        raise DataError("no data set has the time of tomorrow")


def test_protocols_differ_by_name() -> None:
    """`all` finds each of them once."""
    names = [p.name for p in find_protocols("all")]
    assert names == [p.name for p in PROTOCOLS]
    assert len(set(names)) == len(names)


def test_an_unknown_protocol_is_named() -> None:
    """The message lists what there is."""
    with pytest.raises(SettingError, match="no protocol 'warm'; there are cold-user, "):
        find_protocols("warm")


def test_a_flag_of_another_protocol_is_refused(tastes: Dataset) -> None:
    """What a protocol would ignore is not accepted in silence."""
    request = Request(tastes, [0], options={"moon": "full"})
    with pytest.raises(SettingError, match="--moon says nothing to --protocol cold-user"):
        run_protocols([ColdUserProtocol()], request)


def test_all_runs_what_it_can(tastes: Dataset) -> None:
    """Each protocol gets the methods and flags that it knows; the impossible one says why."""
    notes: list[str] = []
    request = Request(
        tastes, [0], ["popularity"], {"window": "3", "cut": "0.5"}, None, notes.append, 50
    )
    found = run_protocols([ColdUserProtocol(), Impossible()], request)
    assert [r.protocol for r in found.results] == ["cold-user"]
    assert found.skipped == {"impossible": "no data set has the time of tomorrow"}
    assert notes == ["cold-user: popularity, seed 0"]
    document = found.to_json()
    assert document["results"][0]["methods"] == ["popularity"]


def test_the_progress_bar_knows_the_runs(tastes: Dataset) -> None:
    """Methods that a protocol does not have take no time in it."""
    request = Request(tastes, [0, 1], ["popularity", "oracle"])
    assert requested_runs([ColdUserProtocol(), Impossible()], request) == 2 * (1 + 2)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"methods": ["magic"]}, "no protocol has a method 'magic'"),
        ({"options": {"moon": "full"}}, "--moon says nothing to any protocol"),
    ],
)
def test_what_no_protocol_knows_is_refused(
    tastes: Dataset, more: dict[str, object], message: str
) -> None:
    """A misspelt name is not dropped because some protocols may lack it."""
    request = Request(tastes, [0], **more)  # type: ignore[arg-type]  # one field a case
    with pytest.raises(SettingError, match=message):
        run_protocols([ColdUserProtocol(), Impossible()], request)
