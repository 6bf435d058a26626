"""The description of a data set."""

from collections.abc import Callable
from pathlib import Path

import pytest

from training.datasets import load
from training.datasets.describe import describe, lines

Write = Callable[..., Path]


def test_figures(write_files: Write) -> None:
    """Counts, density, positives, medians, coverage and guesses are those of the data."""
    files = {
        "interactions.csv": (
            "user_id,item_id,rating,event,timestamp\n"
            "a,1,5,view,1577836800\na,2,1,view,1577836801\nb,1,4,buy,1577836802\n"
        ),
        "items.csv": "item_id,brand\n1,x\n2,\n3,y\n4,x\n",
        "dataset.toml": "[interactions.event_weights]\nbuy = 2\n",
    }
    facts = describe(load(write_files(files)))
    assert (facts["users"], facts["items"], facts["interactions"]) == (2, 4, 3)
    assert (facts["positives"], facts["positive_rule"]) == (2, "value >= 4")
    assert facts["density"] == pytest.approx(0.75)
    assert facts["items_without_interactions"] == 2
    assert facts["interactions_per_user"]["median"] == 1.5
    assert facts["events"] == {
        "buy": {"rows": 1, "weight": 2.0},
        "view": {"rows": 2, "weight": 1.0},
    }
    assert facts["time"]["first"] == "2020-01-01T00:00:00+00:00"
    assert facts["item_features"] == [
        {"name": "brand", "kind": "categorical", "coverage": 0.75, "positions": 2}
    ]
    text = "\n".join(lines(facts))
    assert "3 interactions (density 75.000%)" in text
    assert "brand: categorical, 75% of items have it, 2 positions" in text
    assert all(guess in text for guess in facts["guesses"])


def leaks(directory: Path) -> list[str]:
    warnings: list[str] = describe(load(directory))["warnings"]
    return [w for w in warnings if "rank correlation" in w]


def test_a_feature_that_follows_the_time_of_joining_is_reported(write_files: Write) -> None:
    """A user feature that says when the user came is a leak, also roughly; others are not."""
    n = 80
    rows = [f"{u * 37 % n},{i},{1577836800 + 100 * u + i}" for u in range(n) for i in (1, 2, 3)]
    users = [f"{u * 37 % n},{1000 + 7 * u + 90 * (u % 3)},{u * 53 % n}" for u in range(n)]
    files = {
        "interactions.csv": "user_id,item_id,timestamp\n" + "\n".join(rows),
        "users.csv": "user_id,account,age\n" + "\n".join(users),
    }
    (found,) = leaks(write_files(files))
    assert found.startswith("user feature 'account' follows the time of joining")
    assert 'users.columns.account.kind = "ignore"' in found


@pytest.mark.parametrize("name", ["{u}", "member-{u:03}"])
def test_ids_that_follow_the_time_of_joining_are_reported(write_files: Write, name: str) -> None:
    """Ids that were counted up, as numbers or as text, never become a feature."""
    n = 120
    rows = [f"{name.format(u=u)},{i},{1577836800 - 9 * u + i}" for u in range(n) for i in (1, 2)]
    text = "user_id,item_id,timestamp\n" + "\n".join(rows)
    (found,) = leaks(write_files({"interactions.csv": text}))
    assert found.startswith("user ids follow the time of joining (rank correlation -1.0000)")
    assert "never use them" in found


def test_a_feature_that_knows_the_future_is_reported(write_files: Write) -> None:
    """An item feature that counts what is to be predicted is a leak; a price is not."""
    n = 60
    rows = [f"u{u:02},i{i:02}" for i in range(n) for u in range(i * 13 % n + 1)]
    items = [f"i{i:02},{5 * (i * 13 % n) + i % 4},{i * 29 % n}" for i in range(n)]
    files = {
        "interactions.csv": "user_id,item_id\n" + "\n".join(rows),
        "items.csv": "item_id,reviews,price\n" + "\n".join(items),
    }
    (found,) = leaks(write_files(files))
    assert found.startswith("item feature 'reviews' follows how often the item is taken")


def test_no_time_is_said(write_files: Write) -> None:
    """Without time the order that is used instead is named."""
    files = {"interactions.csv": "user_id,item_id\na,1\nb,2\n"}
    text = "\n".join(lines(describe(load(write_files(files)))))
    assert "none; the order within a user is that of the file" in text
    files = {"interactions.csv": "user_id,item_id,order\na,1,1\nb,2,1\n"}
    text = "\n".join(lines(describe(load(write_files(files, "other")))))
    assert "by the column `order`" in text


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        ("a,1,5,1\nb,2,5,2\nb,1,5,3\n", "1970-01-01T00:00:03"),
        ("a,1,5,9e8\na,2,5,9e8\nb,1,5,9e8\nb,2,5,9e8\n", "100% of the users' next interactions"),
        ("a,1,5,9e8\nb,1,1,9e8\nb,2,2,9e8\n", "1 of 2 users have no positive interaction"),
        ("a,1,5,9e8\nb,2,5,9e8\n", "fewer than 3 interactions"),
    ],
)
def test_warnings(write_files: Write, rows: str, warning: str) -> None:
    """What a person should look at before training is said."""
    text = "user_id,item_id,rating,timestamp\n" + rows
    found = describe(load(write_files({"interactions.csv": text})))["warnings"]
    assert any(warning in w for w in found)
