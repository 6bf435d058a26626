"""The generator: sizes, truth, popularity, determinism."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.datasets import encode, fit_schema, load
from training.datasets.synth import CELLS_A_PIECE, SynthSpec, synth, write_synth
from training.errors import DataError, SettingError

SPEC = SynthSpec(users=300, items=120, interactions=6000, dims=4, ratings=True)


def test_sizes_are_exact_and_pairs_are_unique() -> None:
    """As many rows as asked for, every user at least one, no user an item twice."""
    data = synth(SPEC, seed=1)
    rows = data.interactions
    assert len(rows) == 6000
    assert rows["user_id"].n_unique() == 300
    assert rows.select("user_id", "item_id").is_duplicated().sum() == 0
    assert (len(data.users), len(data.items)) == (300, 120)


@pytest.mark.parametrize(
    "spec",
    [
        SynthSpec(users=2, items=4, interactions=2),
        SynthSpec(users=2, items=4, interactions=4),
        SynthSpec(users=50, items=20_000, interactions=700),
        SynthSpec(users=50, items=10, interactions=249),
    ],
)
def test_extreme_sizes(spec: SynthSpec) -> None:
    """Sizes are exact at the bounds, too, and where candidates are drawn by popularity."""
    rows = synth(spec, seed=0).interactions
    assert len(rows) == spec.interactions
    assert rows.select("user_id", "item_id").is_duplicated().sum() == 0
    assert rows["user_id"].n_unique() == spec.users


def test_users_prefer_what_their_factors_say() -> None:
    """Picked items score higher by user . item than others, and high ratings higher than low."""
    data = synth(SPEC, seed=2)
    user_E = data.interactions["user_id"].str.slice(1).cast(pl.Int64).to_numpy()
    item_E = data.interactions["item_id"].str.slice(1).cast(pl.Int64).to_numpy()
    affinity_UN = data.truth.user_UD @ data.truth.item_ND.T
    picked_E = affinity_UN[user_E, item_E]
    rating_E = data.interactions["rating"].to_numpy()
    assert picked_E.mean() > affinity_UN.mean() + 0.5 * affinity_UN.std()
    assert picked_E[rating_E >= 4].mean() > picked_E[rating_E <= 2].mean() + affinity_UN.std()


def test_popularity_falls_with_rank() -> None:
    """The tenth of items with the greatest true popularity gets far more than a tenth of rows."""
    data = synth(SPEC, seed=3)
    item_E = data.interactions["item_id"].str.slice(1).cast(pl.Int64).to_numpy()
    top = np.argsort(-data.truth.log_popularity_N)[:12]
    assert np.isin(item_E, top).mean() > 0.2


def test_features_tell_of_factors(tmp_path: Path) -> None:
    """A linear map from encoded features recovers a good part of the true factors."""
    write_synth(SPEC, 4, tmp_path / "s")
    dataset = load(tmp_path / "s")
    truth = np.load(tmp_path / "s" / "truth.npz")
    for ids, frame, kinds, factors in (
        (dataset.user_ids, dataset.users, dataset.config.user_columns, truth["user_UD"]),
        (dataset.item_ids, dataset.items, dataset.config.item_columns, truth["item_ND"]),
    ):
        features = encode(frame, fit_schema(frame, kinds), len(ids)).toarray()
        target = factors[[int(i[1:]) for i in ids]]
        weights, *_ = np.linalg.lstsq(features, target, rcond=None)
        explained = 1 - ((features @ weights - target) ** 2).sum() / (target**2).sum()
        assert explained > 0.3


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    """Equal seeds give equal files, in memory and on disk; another seed gives others."""
    counted: list[int] = []
    write_synth(SPEC, 5, tmp_path / "a", counted.append)
    on_disk = pl.read_parquet(tmp_path / "a" / "interactions.parquet")
    assert on_disk.equals(synth(SPEC, 5).interactions)
    assert not on_disk.equals(synth(SPEC, 6).interactions)
    assert sum(counted) == 6000


def test_pieces_are_bounded() -> None:
    """A large data set comes in several pieces."""
    spec = replace(SPEC, users=40_000, items=100, interactions=80_000, ratings=False)
    assert spec.users * spec.items > CELLS_A_PIECE
    rows = synth(spec, 0).interactions
    assert rows["user_id"].n_unique() == 40_000


def test_what_is_generated_loads(tmp_path: Path) -> None:
    """Our own reader takes it as it is: ratings, times in seconds, kinds of all columns."""
    write_synth(replace(SPEC, items=500), 6, tmp_path / "s")
    dataset = load(tmp_path / "s")
    assert dataset.config.timestamp_unit == "s"
    assert str(dataset.config.rules.positive) == "value >= 4"
    assert {k: c.kind for k, c in dataset.config.item_columns.items()} == {
        "title": "text",
        "genres": "multi-categorical",
        "year": "numeric",
    }
    assert {k: c.kind for k, c in dataset.config.user_columns.items()} == {
        "group": "categorical",
        "age": "numeric",
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, users=1), "--users 1: at least 2"),
        (replace(SPEC, items=3), "--items 3: at least 4"),
        (replace(SPEC, dims=0), "--dims 0: at least 1"),
        (replace(SPEC, interactions=299), r"--interactions 299: .*allow 300 .*to 18000"),
        (replace(SPEC, interactions=18_001), "--interactions 18001"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(spec: SynthSpec, message: str) -> None:
    """An impossible size names the flag, its value and what is allowed."""
    with pytest.raises(SettingError, match=message):
        synth(spec, 0)


def test_an_existing_directory_is_refused(tmp_path: Path) -> None:
    """Nothing is overwritten."""
    (tmp_path / "precious").write_text("x")
    with pytest.raises(DataError, match="exists already"):
        write_synth(SPEC, 0, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]
