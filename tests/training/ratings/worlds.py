"""A small world of ratings in which genres, a hidden taste and levels decide."""

from pathlib import Path

import numpy as np

from training.datasets import Dataset, load

USERS, ITEMS = 110, 100
GENRES = ("drama", "comedy", "horror", "western")


def write_ratings(directory: Path, seed: int, *, permuted: bool = False) -> Path:
    """Nearly everyone rates nearly everything; permuted: what, but not how, is as it was."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    genre_N = rng.integers(0, len(GENRES), ITEMS)
    liking_UG = 0.8 * rng.standard_normal((USERS, len(GENRES)))
    hidden_UN = rng.standard_normal((USERS, 1)) * rng.standard_normal((1, ITEMS))
    level_UN = 0.7 * rng.standard_normal((USERS, 1)) + 0.5 * rng.standard_normal((1, ITEMS))
    exact_UN = 3.3 + level_UN + liking_UG[:, genre_N] + 0.6 * hidden_UN
    exact_UN += 0.3 * rng.standard_normal(exact_UN.shape)
    rating_UN = np.clip(np.round(exact_UN), 1, 5)
    user_E, item_E = np.nonzero(rng.random(rating_UN.shape) < 0.92)
    rating_E = rating_UN[user_E, item_E]
    if permuted:
        rating_E = rng.permutation(rating_E)
    lines = [f"u{u:03d},i{i:03d},{r:g}" for u, i, r in zip(user_E, item_E, rating_E, strict=True)]
    (directory / "interactions.csv").write_text("\n".join(["user_id,item_id,rating", *lines]))
    titles = [f"i{i:03d},Film {i} ({1950 + i // 2}),{GENRES[genre_N[i]]}" for i in range(ITEMS)]
    (directory / "items.csv").write_text("\n".join(["item_id,title,genres", *titles]))
    kinds = [f"u{u:03d},{'young' if liking_UG[u, 0] > 0 else 'old'}" for u in range(USERS)]
    (directory / "users.csv").write_text("\n".join(["user_id,kind", *kinds]))
    config = '[items.columns.title]\nkind = "text"\n[items.columns.genres]\nkind = "categorical"\n'
    (directory / "dataset.toml").write_text(config)
    return directory


def rating_world(directory: Path, seed: int = 0, *, permuted: bool = False) -> Dataset:
    """The same, loaded."""
    return load(write_ratings(directory, seed, permuted=permuted))
