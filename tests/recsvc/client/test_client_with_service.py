"""The clients against a real service."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from recsvc.client import AsyncClient, Call, Client, Event, SupportRow, calls
from recsvc.client.errors import InvalidInputError, NotFoundError
from tests.recsvc.api.conftest import running
from tests.recsvc.bundles import BLACK, WHITE
from tests.recsvc.service_process import ServiceProcess


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    """A service on the checkerboard world."""
    with running(None) as process:
        yield process


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[Client]:
    """A client of it."""
    with Client(str(service.http.base_url)) as client:
        yield client


EVERY: list[Call[Any]] = [
    calls.record([]),
    calls.recommendations("ID"),
    calls.rank(),
    calls.similar("ID"),
    calls.put_item("ID", {}),
    calls.put_items({}),
    calls.item("ID"),
    calls.hide_item("ID"),
    calls.put_user("ID", {}),
    calls.export_user("ID"),
    calls.erase_user("ID"),
    calls.merge_users("ID", "ID"),
    calls.models(),
    calls.activate_model("ID"),
    calls.roll_back_model(),
]


def test_every_operation_is_a_call(service: ServiceProcess) -> None:
    """What the service's own document lists under /v1 is what there are calls for."""
    paths = service.http.get("/openapi.json").json()["paths"]
    documented = {
        (method.upper(), re.sub(r"\{\w+\}", "ID", path))
        for path, methods in paths.items()
        if path.startswith("/v1/")
        for method in methods
    }
    assert documented == {(call.method, call.path) for call in EVERY}


def test_what_is_recorded_changes_the_list(client: Client) -> None:
    """A call that is sent twice is one call: its events are duplicates, and the list the same."""
    liked = calls.record([Event("ada", WHITE[0])])
    assert client.send(liked).accepted == 1
    answer = client.send(calls.recommendations("ada", k=3, explain=True))
    assert [i.item_id for i in answer.items] == WHITE[1:4]
    assert answer.items[0].reasons is not None
    assert answer.items[0].reasons[0].item_id == WHITE[0]
    again = client.send(liked)
    assert (again.accepted, again.duplicates) == (0, 1)
    assert answer.items == client.send(calls.recommendations("ada", k=3, explain=True)).items


def test_lists_take_everything_that_can_be_asked(client: Client) -> None:
    """Every option reaches the service, which refuses those that it does not know."""
    answer = client.send(
        calls.rank(
            [SupportRow(WHITE[0], value=5.0)],
            k=2,
            candidates=[WHITE[1], BLACK[0], BLACK[1]],
            exclude=[BLACK[1]],
            exclude_seen=False,
            filters={"colour": ["white", "black"]},
            diversity=0.1,
            explore=7,
            explain=True,
        )
    )
    assert {WHITE[1], BLACK[0]} == {i.item_id for i in answer.items}
    listed = calls.recommendations("eve", category=["white"], diversity=0.1, explore=7, k=4)
    assert len(client.send(listed).items) == 4


@pytest.mark.parametrize("name", ["..", ".", "a/b", "Zoë 🎬"])
def test_items_and_users_of_any_name(client: Client, name: str) -> None:
    """What is put under a name is found and removed under it."""
    assert client.send(calls.put_item(name, {"colour": "white"})).accepted == 1
    assert client.send(calls.item(name)).features == {"colour": "white"}
    client.send(calls.record([Event(name, name)]))
    assert client.send(calls.export_user(name)).model_dump()["user_id"] == name
    assert client.send(calls.erase_user(name)).erased > 0
    client.send(calls.hide_item(name))
    with pytest.raises(NotFoundError) as caught:
        client.send(calls.item(name))
    assert caught.value.slug == "item-not-found"


@pytest.mark.anyio
async def test_the_other_client_says_the_same(service: ServiceProcess, client: Client) -> None:
    """One call, two clients, one list; and one error."""
    call = calls.rank([SupportRow(BLACK[0])], k=5)
    async with AsyncClient(str(service.http.base_url)) as other:
        assert client.send(call).items == (await other.send(call)).items
        with pytest.raises(InvalidInputError, match="k='0'"):
            await other.send(calls.recommendations("ada", k=0))
