"""Base data and archive become one data set: every event once, run-time features in place."""

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsvc.contract.archive_lock import writing
from training.datasets import Dataset, load
from training.datasets.archived import merge_archive
from training.errors import DataError

DAY_MS = 86_400_000


def write_base(path: Path, header: str, rows: Sequence[str]) -> Dataset:
    path.mkdir()
    (path / "interactions.csv").write_text("\n".join([header, *rows]) + "\n")
    (path / "items.csv").write_text("item_id,colour\na,red\nb,blue\nc,red\nd,blue\n")
    return load(path)


@pytest.fixture
def timed(tmp_path: Path) -> Dataset:
    rows = [f"{u},{i},{r},{t}" for u, i, r, t in (
        ("u1", "a", 5, 1000), ("u1", "b", 2, 2000), ("u2", "b", 4, 1500), ("u2", "c", 5, 1700)
    )]  # fmt: skip
    return write_base(tmp_path / "base", "user_id,item_id,rating,timestamp", rows)


def write_events(archive: Path, rows: Sequence[dict[str, Any]], name: str = "1") -> None:
    folder = archive / "date=2026-01-01"
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"event": None, "value": None, "recommendation_id": None}
    full = [
        {**plain, "log_ms": k, "log_seq": 0, "event_id": f"e{k}", "timestamp": k, **row}
        for k, row in enumerate(rows)
    ]
    schema = {"event": pl.String, "value": pl.Float64, "recommendation_id": pl.String}
    pl.DataFrame(full, schema_overrides=schema).write_parquet(folder / f"part-{name}.parquet")


def pairs(dataset: Dataset) -> list[tuple[str, str]]:
    events = dataset.interactions
    return [
        (dataset.user_ids[u], dataset.item_ids[i])
        for u, i in zip(events.user_E, events.item_E, strict=True)
    ]


def test_archived_events_join_the_base_in_time_order(timed: Dataset, tmp_path: Path) -> None:
    """Known and new users and items; a user's archived events come where their time puts them."""
    write_events(
        tmp_path / "archive",
        [
            {"user_id": "u1", "item_id": "c", "timestamp": 1_500_000, "value": 5.0},
            {"user_id": "u3", "item_id": "new", "timestamp": DAY_MS},
        ],
    )
    added = merge_archive(timed, tmp_path / "archive", tmp_path / "merged")
    merged = load(tmp_path / "merged")
    assert (added.events, added.new_users) == (2, frozenset({"u3"}))
    assert pairs(merged) == [
        ("u1", "a"), ("u1", "c"), ("u1", "b"), ("u2", "b"), ("u2", "c"), ("u3", "new"),
    ]  # fmt: skip
    assert merged.config.rules == timed.config.rules


def test_an_event_that_was_archived_twice_counts_once(timed: Dataset, tmp_path: Path) -> None:
    """A batch that a killed drain wrote again changes nothing, nor does a row of the base."""
    row = {"user_id": "u1", "item_id": "d", "timestamp": 9_000_000, "event_id": "same"}
    again = {"user_id": "u1", "item_id": "a", "timestamp": 1_000_000, "value": 5.0}
    write_events(tmp_path / "archive", [row, again], "1")
    write_events(tmp_path / "archive", [row], "2")
    merge_archive(timed, tmp_path / "archive", tmp_path / "merged")
    merged = load(tmp_path / "merged")
    assert sorted(pairs(merged)) == sorted([*pairs(timed), ("u1", "d")])


def test_without_times_archived_events_come_last(tmp_path: Path) -> None:
    """Where the base has an order alone, the archive goes on from its end, by its own times."""
    rows = ["u1,b,2", "u1,a,1", "u2,c,1", "u2,a,2"]
    base = write_base(tmp_path / "base", "user_id,item_id,order", rows)
    late = {"user_id": "u1", "item_id": "d", "timestamp": 20}
    early = {"user_id": "u1", "item_id": "c", "timestamp": 10}
    write_events(tmp_path / "archive", [late, early])
    merge_archive(base, tmp_path / "archive", tmp_path / "merged")
    merged = load(tmp_path / "merged")
    assert [i for u, i in pairs(merged) if u == "u1"] == ["a", "b", "c", "d"]


def test_without_time_or_order_the_base_keeps_every_row(tmp_path: Path) -> None:
    """A base of user_id,item_id alone: its rows come first, in the order of the file."""
    base = write_base(tmp_path / "base", "user_id,item_id", ["u1,b", "u1,a", "u2,c", "u2,a"])
    write_events(tmp_path / "archive", [{"user_id": "u1", "item_id": "c", "timestamp": 20}])
    merge_archive(base, tmp_path / "archive", tmp_path / "merged")
    assert pairs(load(tmp_path / "merged")) == [
        ("u1", "b"), ("u1", "a"), ("u1", "c"), ("u2", "c"), ("u2", "a"),
    ]  # fmt: skip


def test_clicks_without_a_value_join_a_base_with_values(tmp_path: Path) -> None:
    """Play counts in the base and plain clicks in the archive: none is left out."""
    rows = ["u1,a,10,1", "u1,b,3,2", "u2,a,7,1", "u2,c,1,2"]
    base = write_base(tmp_path / "base", "user_id,item_id,count,timestamp", rows)
    write_events(tmp_path / "archive", [{"user_id": "u1", "item_id": "c", "timestamp": DAY_MS}])
    merge_archive(base, tmp_path / "archive", tmp_path / "merged")
    assert ("u1", "c") in pairs(load(tmp_path / "merged"))


def test_an_erased_user_leaves_the_base_and_may_come_back(timed: Dataset, tmp_path: Path) -> None:
    """Rows of the base go; what the user did after the erasure stays, as a new user's."""
    archive = tmp_path / "archive"
    write_events(archive, [{"user_id": "u1", "item_id": "c", "timestamp": DAY_MS}])
    (archive / "erasures").mkdir()
    digest = hashlib.sha256(b"recsvc-erasure:u1").hexdigest()
    marks = {"user_hash": [digest], "log_ms": [0], "log_seq": [0]}
    pl.DataFrame(marks).write_parquet(archive / "erasures" / "part-1.parquet")
    added = merge_archive(timed, archive, tmp_path / "merged")
    merged = pairs(load(tmp_path / "merged"))
    assert [i for u, i in merged if u == "u1"] == ["c"]
    assert added.new_users == frozenset({"u1"})


@pytest.mark.parametrize(("put", "kept"), [(["red", "blue"], "red|blue"), (7, "7"), ("x", "x")])
def test_a_feature_put_at_run_time_takes_the_type_of_the_column(
    timed: Dataset, tmp_path: Path, put: Any, kept: str
) -> None:
    """Lists, numbers and texts for a column of texts."""
    archive = tmp_path / "archive"
    write_events(archive, [{"user_id": "u3", "item_id": "new"}])
    (archive / "items").mkdir()
    rows = {"item_id": ["a"], "features": [json.dumps({"colour": put})]}
    pl.DataFrame(rows).write_parquet(archive / "items" / "items-1.parquet")
    merge_archive(timed, archive, tmp_path / "merged")
    items = pl.read_parquet(tmp_path / "merged" / "items.parquet")
    assert items.filter(pl.col("item_id") == "a")["colour"].to_list() == [kept]


def test_run_time_features_replace_those_of_the_base(timed: Dataset, tmp_path: Path) -> None:
    """A changed item, a new one and a hidden one; the newest table counts."""
    archive = tmp_path / "archive"
    write_events(archive, [{"user_id": "u3", "item_id": "new"}])
    (archive / "items").mkdir()
    for name, features in (("1", '{"colour":"old"}'), ("2", '{"colour":"green"}')):
        rows = {
            "item_id": ["a", "hidden", "new"],
            "features": [features, None, '{"colour":"pink"}'],
        }
        pl.DataFrame(rows).write_parquet(archive / "items" / f"items-{name}.parquet")
    merge_archive(timed, archive, tmp_path / "merged")
    merged = load(tmp_path / "merged")
    assert merged.items is not None
    colours = dict(zip(merged.item_ids, merged.items["colour"], strict=True))
    assert colours == {"a": "green", "b": "blue", "c": "red", "d": "blue", "new": "pink"}


def test_an_empty_archive_changes_nothing(timed: Dataset, tmp_path: Path) -> None:
    """No part file yet: the merged set is the base."""
    added = merge_archive(timed, tmp_path / "archive", tmp_path / "merged")
    assert added.events == 0
    assert pairs(load(tmp_path / "merged")) == pairs(timed)


def test_a_truncated_part_file_is_named(timed: Dataset, tmp_path: Path) -> None:
    """The message names the archive, and nothing is written."""
    write_events(tmp_path / "archive", [{"user_id": "u3", "item_id": "a"}])
    part = tmp_path / "archive" / "date=2026-01-01" / "part-1.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DataError, match=r"archive .*unreadable"):
        merge_archive(timed, tmp_path / "archive", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_merge_waits_for_a_drain(timed: Dataset, tmp_path: Path) -> None:
    """What is read belongs together: an erasure that is being applied is read when it is."""
    archive = tmp_path / "archive"
    write_events(archive, [{"user_id": "u3", "item_id": "a"}, {"user_id": "u4", "item_id": "b"}])
    merged = threading.Thread(target=merge_archive, args=(timed, archive, tmp_path / "out"))
    with writing(archive):
        merged.start()
        merged.join(timeout=0.2)
        assert merged.is_alive()
        assert not (tmp_path / "out").exists()
        write_events(archive, [{"user_id": "u4", "item_id": "b"}])
    merged.join(timeout=30)
    assert not merged.is_alive()
    assert "u3" not in load(tmp_path / "out").user_ids
