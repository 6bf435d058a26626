"""A small data set with two tastes that the users' only feature reveals."""

from pathlib import Path

import numpy as np
import pytest

from training.datasets import Dataset, load

USERS, GROUP, PER_USER = 200, 30, 9


def write_world(directory: Path, seed: int, *, permuted: bool = False) -> Path:
    """Users a..: nine items of their taste in time order; permuted: of no taste at all."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    lines = ["user_id,item_id,timestamp"]
    for user in range(USERS):
        pool = np.arange(2 * GROUP) if permuted else np.arange(GROUP) + GROUP * (user % 2)
        for at, item in enumerate(rng.permutation(pool)[:PER_USER]):
            lines.append(f"u{user:03d},i{item:02d},{1_000_000 + 60 * at}")
    (directory / "interactions.csv").write_text("\n".join(lines) + "\n")
    tastes = [f"u{user:03d},{'even' if user % 2 == 0 else 'odd'}" for user in range(USERS)]
    (directory / "users.csv").write_text("\n".join(["user_id,kind", *tastes]) + "\n")
    return directory


@pytest.fixture(scope="session")
def tastes_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("worlds") / "tastes", 0)


@pytest.fixture(scope="session")
def tastes(tastes_directory: Path) -> Dataset:
    return load(tastes_directory)


@pytest.fixture(scope="session")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Both tastes in every user's history: their own rated 5, the other one rated 1 in between."""
    rng = np.random.default_rng(2)
    lines = ["user_id,item_id,rating,timestamp"]
    for user in range(USERS):
        own, other = (GROUP * ((user + side) % 2) + rng.permutation(GROUP) for side in (0, 1))
        rows = [(item, 5) for item in own[:PER_USER]]
        for at, item in enumerate(other[:PER_USER]):
            rows.insert(2 * at, (item, 1))
        for at, (item, rating) in enumerate(rows):
            lines.append(f"u{user:03d},i{item:02d},{rating},{1_500_000_000 + 60 * at}")
    directory = tmp_path_factory.mktemp("worlds") / "rated"
    directory.mkdir()
    (directory / "interactions.csv").write_text("\n".join(lines) + "\n")
    return load(directory)


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same users, with items drawn without regard to their taste."""
    return load(write_world(tmp_path_factory.mktemp("worlds") / "noise", 1, permuted=True))
