"""Lists over HTTP: what a user did decides what the user gets, with a kernel and without."""

from typing import Any

import httpx
import pytest

from recsvc.api.models import RecommendOut
from tests.recsvc.api.calls import ids, listed, problem, ranked, record
from tests.recsvc.bundles import BLACK, ITEM_IDS, WHITE, tags_of
from tests.recsvc.service_process import ServiceProcess

POPULAR = sorted(ITEM_IDS, key=lambda i: (int(i[-2:]), i))
"""By bias, which falls with the number; of equal ones black before white."""


@pytest.fixture(params=["service", "pooled_service"])
def http(request: pytest.FixtureRequest) -> httpx.Client:
    """A client of the service with a kernel, and of the one without."""
    process: ServiceProcess = request.getfixturevalue(request.param)
    return process.http


def test_the_list_after_an_event_differs(http: httpx.Client, user: str) -> None:
    """One click changes the very next list, to exactly what the world says."""
    before = listed(http, user)
    assert POPULAR[:10] == ids(before)
    assert record(http, user, WHITE[5]) == {"accepted": 1, "duplicates": 0}
    after = listed(http, user)
    assert [i for i in WHITE if i != WHITE[5]][:10] == ids(after)
    assert after["strategy"] == "adapted"
    assert after["adaptation"] == {"steps": 1, "support_size": 1, "skipped": 0}


def test_a_dislike_turns_the_list(http: httpx.Client, user: str) -> None:
    """A value below the rule's threshold is a negative: the other colour comes first."""
    record(http, user, BLACK[0], value=1)
    assert WHITE[:10] == ids(listed(http, user))


def test_a_rating_is_a_value(http: httpx.Client, user: str) -> None:
    """`rating`, as data sets call it, is not dropped: one star is a dislike, stored or not."""
    record(http, user, BLACK[0], rating=1)
    assert WHITE[:10] == ids(listed(http, user))
    session = ranked(http, support=[{"item_id": BLACK[0], "rating": 1}], k=10)
    assert WHITE[:10] == ids(session)


def test_a_support_that_changes_nothing_is_not_called_adapted(
    service: ServiceProcess, pooled_service: ServiceProcess
) -> None:
    """Where a model's scores stay as they were, the answer says what they rest on."""
    support = [{"item_id": WHITE[0], "value": 5}, {"item_id": WHITE[1], "value": 1}]
    answer = ranked(service.http, support=support, k=3)
    assert answer["strategy"] == "popular"
    assert answer["adaptation"] == {"steps": 0, "support_size": 0, "skipped": 0}
    by_kernel = ranked(pooled_service.http, support=support, k=3)
    assert by_kernel["strategy"] == "adapted"
    assert by_kernel["adaptation"]["support_size"] == 2


def test_the_answer_has_the_documented_shape(http: httpx.Client, user: str) -> None:
    """Fields are those of the contract, and reasons appear only where asked for."""
    record(http, user, BLACK[1])
    plain = listed(http, user, k=2)
    assert {
        "recommendation_id", "model_version", "strategy", "degraded", "items", "adaptation",
    } == plain.keys()  # fmt: skip
    assert {"item_id", "score"} == plain["items"][0].keys()
    assert (plain["model_version"], plain["degraded"]) == ("v1", False)
    assert RecommendOut.model_validate(plain).model_dump(exclude_none=True) == plain
    document = listed(http, user, k=2, explain=True)
    explained = RecommendOut.model_validate(document)
    assert explained.model_dump(exclude_none=True) == document
    assert explained.items[0].reasons is not None
    assert BLACK[1] == explained.items[0].reasons[0].item_id


def test_an_unknown_user_is_a_new_one(http: httpx.Client) -> None:
    """Nobody has to be announced: an unknown id gets the popular list."""
    answer = listed(http, "nobody-has-this-id")
    assert (answer["strategy"], answer["degraded"]) == ("popular", False)
    assert answer["adaptation"] == {"steps": 0, "support_size": 0, "skipped": 0}


def test_the_same_question_has_the_same_answer(http: httpx.Client, user: str) -> None:
    """Same state and model: the same items with the same scores, however often, and by POST too."""
    record(http, user, BLACK[2], WHITE[3], BLACK[9])
    first = listed(http, user, k=50)
    for _ in range(3):
        assert first["items"] == listed(http, user, k=50)["items"]
    assert first["items"] == ranked(http, user_id=user, k=50)["items"]


def test_a_session_is_not_stored(http: httpx.Client, user: str) -> None:
    """A support in the request adapts the answer and leaves no trace."""
    answer = ranked(http, user_id=user, support=[{"item_id": WHITE[0]}], k=3)
    assert WHITE[1:4] == ids(answer)
    assert listed(http, user)["strategy"] == "popular"
    problem(http.get(f"/v1/users/{user}"), 404)


def test_a_session_comes_on_top_of_the_stored_events(http: httpx.Client, user: str) -> None:
    """With a user id the stored events count as well."""
    record(http, user, BLACK[0], BLACK[1])
    answer = ranked(http, user_id=user, support=[{"item_id": WHITE[0]}], k=3, explain=True)
    assert answer["adaptation"]["support_size"] == 3
    assert BLACK[2:5] == ids(answer)


def test_unknown_support_items_are_skipped_and_counted(http: httpx.Client) -> None:
    """What the catalogue does not know changes nothing but the count."""
    known = [{"item_id": WHITE[0]}]
    unknown = [{"item_id": "who?"}, {"item_id": "what?"}]
    answer = ranked(http, support=known + unknown)
    assert ids(ranked(http, support=known)) == ids(answer)
    assert answer["adaptation"] == {"steps": 1, "support_size": 1, "skipped": 2}
    nothing = ranked(http, support=unknown)
    assert ("popular", POPULAR[:10]) == (nothing["strategy"], ids(nothing))


def test_an_empty_support_is_a_new_visitor(http: httpx.Client) -> None:
    """No support, an empty one and an empty body give the popular list."""
    bodies: list[dict[str, Any]] = [{}, {"support": []}, {"support": None}]
    for body in bodies:
        assert POPULAR[:10] == ids(ranked(http, **body))


def test_the_latest_event_of_an_item_decides(http: httpx.Client) -> None:
    """Order by timestamp, not by place; a changed mind counts, and only once."""
    support = [
        {"item_id": WHITE[0], "value": 1, "timestamp": "2026-01-02T00:00:00Z"},
        {"item_id": WHITE[0], "value": 5, "timestamp": "2026-01-01T00:00:00Z"},
    ]
    answer = ranked(http, support=support, k=3)
    assert BLACK[:3] == ids(answer)
    assert answer["adaptation"]["support_size"] == 1
    assert WHITE[1:4] == ids(ranked(http, support=[{**s, "timestamp": None} for s in support], k=3))


def test_event_weights_count(http: httpx.Client) -> None:
    """A purchase outweighs a click; an impression is no evidence and hides nothing."""
    support = [{"item_id": BLACK[0]}, {"item_id": WHITE[0], "event": "buy"}]
    assert WHITE[1:4] == ids(ranked(http, support=support, k=3))
    seen = [{"item_id": BLACK[0], "event": "impression"}]
    assert POPULAR[:3] == ids(ranked(http, support=seen, k=3))


def test_user_features_give_a_prior(http: httpx.Client, user: str) -> None:
    """Features alone move the list, in the request or stored; the request's win."""
    answer = ranked(http, user_features={"side": "white"}, k=3)
    assert ("prior", WHITE[:3]) == (answer["strategy"], ids(answer))
    put = http.put(f"/v1/users/{user}", json={"features": {"side": "black", "shoe": 43}})
    assert {"user_id": user, "ignored": ["shoe"], "unknown_values": {}} == put.json()
    assert BLACK[:3] == ids(listed(http, user, k=3))
    assert WHITE[:3] == ids(ranked(http, user_id=user, user_features={"side": "white"}, k=3))


def test_candidates_alone_are_ranked(http: httpx.Client) -> None:
    """With candidates the answer is those, best first; unknown ones are left out."""
    candidates = [WHITE[7], BLACK[3], "who?", WHITE[2], BLACK[3]]
    answer = ranked(http, support=[{"item_id": WHITE[0]}], candidates=candidates)
    assert [WHITE[2], WHITE[7], BLACK[3]] == ids(answer)
    everything = ranked(http, support=[{"item_id": WHITE[0]}], k=64)
    full = {item["item_id"]: item["score"] for item in everything["items"]}
    assert [full[i] for i in ids(answer)] == [i["score"] for i in answer["items"]]
    assert ids(ranked(http, candidates=[])) == []


def test_exclusions(http: httpx.Client, user: str) -> None:
    """Seen items stay away unless wanted; listed ones stay away always."""
    support = [{"item_id": WHITE[0]}]
    assert WHITE[0] not in ids(ranked(http, support=support, k=64))
    kept = ranked(http, support=support, k=2, exclude_seen=False, exclude=[WHITE[1], "who?"])
    assert [WHITE[0], WHITE[2]] == ids(kept)
    record(http, user, WHITE[0])
    assert WHITE[0] == ids(listed(http, user, exclude_seen=False))[0]


def test_k_above_the_catalogue_gives_what_there_is(http: httpx.Client) -> None:
    """A longer list than there are items is as long as the catalogue."""
    assert sorted(ITEM_IDS) == sorted(ids(ranked(http, k=1000)))


def test_filters(http: httpx.Client, user: str) -> None:
    """Columns must all match, values of one column are alternatives, category looks everywhere."""
    low_white = [i for i in WHITE if "low" in tags_of(int(i[-2:]))]
    both = ranked(http, filter={"colour": "white", "tags": "low"})
    assert low_white == ids(both)
    years = ranked(http, filter={"year": [1990, 1991.0, "1992"]}, k=64)
    assert set(POPULAR[:6]) == set(ids(years))
    assert WHITE[:3] == ids(listed(http, user, category="white", k=3))
    mixed = listed(http, user, category=["white", "low"], k=64)
    assert {*WHITE, *(i for i in BLACK if "low" in tags_of(int(i[-2:])))} == set(ids(mixed))
    assert ids(listed(http, user, category="green")) == []


def test_reasons_are_the_items_that_raised_the_score(http: httpx.Client) -> None:
    """A white item comes from the white support; without that the score falls by as much."""
    support = [{"item_id": WHITE[0]}, {"item_id": BLACK[0]}]
    answer = ranked(http, support=support, candidates=[WHITE[9]], explain=True)
    (item,) = answer["items"]
    (reason,) = item["reasons"]
    without = ranked(http, support=support[1:], candidates=[WHITE[9]])
    assert WHITE[0] == reason["item_id"]
    assert item["score"] - without["items"][0]["score"] == pytest.approx(reason["contribution"])
    assert ranked(http, k=1, explain=True)["items"][0]["reasons"] == []


def test_every_reason_is_what_would_be_missing(http: httpx.Client) -> None:
    """Without the item that a reason names, the score is lower by just its contribution."""
    liked = [WHITE[3], BLACK[5], WHITE[30], BLACK[7]]
    support: list[dict[str, Any]] = [{"item_id": i} for i in liked]
    support[2]["event"] = "buy"
    support.insert(1, {"item_id": BLACK[9], "value": 1})
    chosen = [WHITE[4], BLACK[0], WHITE[29]]
    answer = ranked(http, support=support, candidates=chosen, explain=True)
    assert any(len(item["reasons"]) > 1 for item in answer["items"])
    for item in answer["items"]:
        for reason in item["reasons"]:
            rest = [row for row in support if row["item_id"] != reason["item_id"]]
            without = ranked(http, support=rest, candidates=[item["item_id"]])
            difference = item["score"] - without["items"][0]["score"]
            assert reason["contribution"] == pytest.approx(difference, abs=1e-5)


def test_diversity_mixes_the_list(http: httpx.Client) -> None:
    """A user of white items gets some black ones, and still the best one first."""
    support = [{"item_id": WHITE[0]}]
    plain = ranked(http, support=support, k=6)
    mixed = ranked(http, support=support, k=6, diversity=0.9)
    assert ids(ranked(http, support=support, k=6, diversity=0)) == ids(plain)
    assert ids(plain)[0] == ids(mixed)[0]
    assert any(i in BLACK for i in ids(mixed))


def test_exploration_is_seeded(http: httpx.Client) -> None:
    """A seed gives one list, again and again; seeds differ from each other."""
    lists = {seed: ids(ranked(http, explore=seed)) for seed in range(5)}
    assert lists == {seed: ids(ranked(http, explore=seed)) for seed in range(5)}
    assert len({tuple(found) for found in lists.values()}) > 1


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"k": 0}, "k=0"),
        ({"k": 1001}, "k=1001"),
        ({"k": -1}, "k=-1"),
        ({"k": "ten"}, "ten"),
        ({"diversity": 1.5}, "1.5"),
        ({"explore": -1}, "-1"),
        ({"explore": 2**70}, "explore"),
        ({"candidate": ["a"]}, "candidate"),
        ({"support": [{"value": 3}]}, "support.0.item_id"),
        ({"support": [{"item_id": ""}]}, "support.0.item_id"),
        ({"support": [{"item_id": "x" * 257}]}, "support.0.item_id"),
        ({"support": [{"item_id": 5}]}, "support.0.item_id"),
        ({"support": [{"item_id": "a", "timestamp": "soon"}]}, "soon"),
        ({"support": [{"item_id": "a", "timestamp": 1_700_000_000_000}]}, "milliseconds"),
        ({"support": "black-01"}, "support"),
        ({"user_features": {"side": {"a": 1}}}, "user_features"),
        ({"filter": {"size": 1}}, "'size'"),
        ({"filter": {"colour": []}}, "colour"),
    ],
)
def test_a_wrong_field_is_named(http: httpx.Client, body: dict[str, Any], named: str) -> None:
    """Every wrong field is a 422 that names it or its value."""
    import json

    answer = http.post(
        "/v1/recommendations",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    assert named in problem(answer, 422)["detail"]


@pytest.mark.parametrize(
    "query", ["k=0", "k=1001", "k=1.5", "diversity=nan", "explore=x", "explain=perhaps"]
)
def test_a_wrong_parameter_is_named(http: httpx.Client, query: str) -> None:
    """Every wrong query parameter is a 422 that names it."""
    name = query.partition("=")[0]
    answer = http.get(f"/v1/users/u/recommendations?{query}")
    assert name in problem(answer, 422)["detail"]
