"""Items at run time, and all that is kept about a user, over HTTP."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from tests.recsvc.api.calls import ids, listed, problem, ranked, record
from tests.recsvc.bundles import BLACK, WHITE


@pytest.fixture
def new_item(http: httpx.Client, user: str) -> Iterator[str]:
    """An item id that is hidden again afterwards."""
    item_id = f"new/{user}/similar"
    yield item_id
    http.delete(f"/v1/items/{quote(item_id, safe='')}")


def test_a_new_item_is_recommendable_at_once(http: httpx.Client, new_item: str) -> None:
    """From its features alone it leads its colour; slashes in its id are part of the id."""
    path = f"/v1/items/{quote(new_item, safe='')}"
    put = http.put(path, json={"features": {"colour": "white", "size": 3}})
    assert {
        "accepted": 1, "ignored": {new_item: ["size"]}, "unknown_values": {},
    } == put.json()  # fmt: skip
    assert new_item == ids(ranked(http, support=[{"item_id": WHITE[0]}], k=1))[0]
    assert {
        "item_id": new_item,
        "features": {"colour": "white", "size": 3},
        "trained": False,
        "interactions": 0,
    } == http.get(path).json()
    assert new_item in ids(ranked(http, filter={"colour": "white"}, k=64))
    similar = http.get(f"{path}/similar", params={"k": 2}).json()
    assert WHITE[:2] == ids(similar)


def test_events_on_a_new_item_count(http: httpx.Client, user: str, new_item: str) -> None:
    """A user who likes a new white item gets white items; a changed item changes the list."""
    http.post("/v1/items", json={"item_id": new_item, "features": {"colour": "white"}})
    record(http, user, new_item)
    assert WHITE[:3] == ids(listed(http, user, k=3))
    http.post("/v1/items", json={"item_id": new_item, "features": {"colour": "black"}})
    assert BLACK[:3] == ids(listed(http, user, k=3))


def test_many_items_in_one_call(http: httpx.Client, user: str) -> None:
    """Items can be posted together; one wrong item refuses them all."""
    items = [{"item_id": f"{user}-{n}", "features": {"colour": "black"}} for n in range(5)]
    wrong = {"item_id": f"{user}-5", "features": {"year": "soon"}}
    refused = problem(http.post("/v1/items", json={"items": [*items, wrong]}), 422)
    assert f"{user}-5" in refused["detail"]
    problem(http.get(f"/v1/items/{user}-0"), 404)
    put = http.post("/v1/items", json={"items": items}).json()
    assert put == {"accepted": 5, "ignored": {}, "unknown_values": {}}
    for n in range(5):
        assert http.delete(f"/v1/items/{user}-{n}").status_code == 204


def test_unknown_categories_are_told(http: httpx.Client, user: str, new_item: str) -> None:
    """They are ordinary and kept, and the answer says that the model does not know them."""
    path = f"/v1/items/{quote(new_item, safe='')}"
    put = http.put(path, json={"features": {"colour": "whtie", "year": 2001}}).json()
    assert put["unknown_values"] == {new_item: {"colour": ["whtie"]}}
    assert http.get(path).json()["features"]["colour"] == "whtie"
    given = {"side": "neither"}
    put = http.put(f"/v1/users/{user}", json={"features": given}).json()
    assert put["unknown_values"] == {"side": ["neither"]}
    assert http.get(f"/v1/users/{user}").json()["features"] == given


def test_a_hidden_item_leaves_every_list(http: httpx.Client, new_item: str) -> None:
    """DELETE hides, repeating it is harmless, and PUT brings it back."""
    path = f"/v1/items/{quote(new_item, safe='')}"
    for _ in range(2):
        http.put(path, json={"features": {"colour": "black"}})
        assert new_item in ids(ranked(http, k=64 + 20))
        assert [http.delete(path).status_code for _ in range(2)] == [204, 204]
        assert new_item not in ids(ranked(http, k=64 + 20))
        assert new_item not in ids(ranked(http, candidates=[new_item]))
        problem(http.get(path), 404)
        problem(http.get(f"{path}/similar"), 404)


def test_a_trained_item_is_described(http: httpx.Client) -> None:
    """Its features are those of the data set."""
    found = http.get(f"/v1/items/{BLACK[1]}").json()
    assert (found["trained"], found["features"]["title"]) == (True, "The black-01")


def test_similar_items_point_the_same_way(http: httpx.Client) -> None:
    """Items of the same colour, in the order of their ids, without the item itself."""
    answer = http.get(f"/v1/items/{WHITE[2]}/similar", params={"k": 3}).json()
    assert [WHITE[0], WHITE[1], WHITE[3]] == ids(answer)
    assert [i["score"] for i in answer["items"]] == [1.0] * 3


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/items/who"), ("DELETE", "/v1/items/who"), ("GET", "/v1/items/who/similar")],
)
def test_an_unknown_item_is_a_404(http: httpx.Client, method: str, path: str) -> None:
    """The problem names the item."""
    assert "'who'" in problem(http.request(method, path), 404)["detail"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "features"),
        ({"features": {"year": "soon"}}, "year"),
        ({"features": {"title": {"en": "x"}}}, "features.title"),
        ({"feature": {}}, "feature"),
    ],
)
def test_wrong_item_features_are_refused(
    http: httpx.Client, body: dict[str, object], named: str
) -> None:
    """A wrong feature is named and the item is not added."""
    assert named in problem(http.put("/v1/items/never", json=body), 422)["detail"]
    problem(http.get("/v1/items/never"), 404)


@pytest.mark.parametrize("body", [{}, {"item_id": "a"}, {"items": [], "item_id": "a"}])
def test_one_item_or_many(http: httpx.Client, body: dict[str, object]) -> None:
    """A post is either one item or a list of them."""
    assert "items" in problem(http.post("/v1/items", json=body), 422)["detail"]


def test_erasure_leaves_nothing(http: httpx.Client, user: str) -> None:
    """After DELETE the user is unknown: no export, no features, no influence on the list."""
    http.put(f"/v1/users/{user}", json={"features": {"side": "white"}})
    record(http, user, WHITE[0], WHITE[1])
    kept = http.get(f"/v1/users/{user}").json()
    assert (kept["features"], len(kept["events"])) == ({"side": "white"}, 2)
    assert listed(http, user)["strategy"] == "adapted"
    assert http.delete(f"/v1/users/{user}").json()["erased"] > 0
    problem(http.get(f"/v1/users/{user}"), 404)
    assert listed(http, user)["strategy"] == "popular"
    assert http.delete(f"/v1/users/{user}").json()["erased"] == 0


def test_wrong_user_features_are_refused(http: httpx.Client, user: str) -> None:
    """A value of no allowed type is named; nothing is stored."""
    answer = http.put(f"/v1/users/{user}", json={"features": {"side": [["white"]]}})
    assert "features.side" in problem(answer, 422)["detail"]
    problem(http.get(f"/v1/users/{user}"), 404)


def test_an_anonymous_user_becomes_a_known_one(http: httpx.Client, user: str) -> None:
    """The visitor's clicks decide the known user's list at once, and the visitor is gone."""
    guest = f"guest/of {user}"
    path = f"/v1/users/{user}/merge/{quote(guest, safe='')}"
    record(http, guest, WHITE[0], WHITE[1])
    http.put(f"/v1/users/{quote(guest, safe='')}", json={"features": {"side": "white"}})
    merged = {"user_id": user, "merged": guest, "events": 2, "features": ["side"]}
    assert merged == http.post(path).json()
    assert WHITE[2:5] == ids(listed(http, user, k=3))
    problem(http.get(f"/v1/users/{quote(guest, safe='')}"), 404)
    assert {**merged, "events": 0, "features": []} == http.post(path).json()


def test_a_merge_that_makes_no_sense_is_refused(http: httpx.Client, user: str) -> None:
    """Itself: 422. An unknown source: 404. A source that became somebody else: 409."""
    assert user in problem(http.post(f"/v1/users/{user}/merge/{user}"), 422)["detail"]
    assert user in problem(http.post(f"/v1/users/known/merge/{user}"), 404)["detail"]
    record(http, user, WHITE[0])
    assert http.post(f"/v1/users/known-{user}/merge/{user}").status_code == 200
    assert user in problem(http.post(f"/v1/users/other/merge/{user}"), 409)["detail"]
