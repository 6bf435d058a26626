"""Features and ids that give away the time of joining or the future: never to be learned from.

Knows nothing of training. A rank correlation finds them, so any rising or falling code is found.
"""

import numpy as np
import polars as pl

from training.datasets.dataset import ColumnConfig, Dataset

GIVEN_AWAY = 0.9
"""A rank correlation at which a feature says when a user came, or what an item will come to."""
MIN_ROWS_TO_CORRELATE = 50


def leaks(dataset: Dataset) -> list[str]:
    """What to take out before training, each a sentence that says why and how."""
    return [*_user_leaks(dataset), *_item_leaks(dataset)]


def _user_leaks(dataset: Dataset) -> list[str]:
    """What says when a user came, not who they are: a model would learn the calendar."""
    rows = dataset.interactions
    if rows.timestamp_E is None:
        return []
    n_active = int(rows.user_E.max()) + 1
    first_E = np.r_[True, rows.user_E[1:] != rows.user_E[:-1]]
    joined = pl.Series("known", rows.timestamp_E[first_E])
    found = [
        f"user feature {name!r} follows the time of joining (rank correlation {rho:.3f}): "
        f'it says when, not who; set users.columns.{name}.kind = "ignore"'
        for name, rho in _followers(dataset.users, dataset.config.user_columns, joined)
    ]
    rho = _rank_correlation(_ids(dataset.user_ids[:n_active]), joined)
    if abs(rho) >= GIVEN_AWAY:
        found.append(
            f"user ids follow the time of joining (rank correlation {rho:.4f}): "
            "never use them, or their order, as a feature"
        )
    return found


def _item_leaks(dataset: Dataset) -> list[str]:
    """What says how often an item will be taken: it was counted after the fact."""
    counts = pl.Series("known", np.bincount(dataset.interactions.item_E))
    return [
        f"item feature {name!r} follows how often the item is taken (rank correlation {rho:.3f}): "
        "a new item cannot have it yet, and it holds what is to be predicted; "
        f'set items.columns.{name}.kind = "ignore"'
        for name, rho in _followers(dataset.items, dataset.config.item_columns, counts)
    ]


def _followers(
    frame: pl.DataFrame | None, columns: dict[str, ColumnConfig], known: pl.Series
) -> list[tuple[str, float]]:
    """Features in use whose ranks are those of `known`, which is aligned to the first rows."""
    found = []
    for name in [] if frame is None else frame.columns:
        values = frame[name].head(len(known))  # type: ignore[index]  # None has no columns
        if columns[name].kind == "ignore" or values.dtype == pl.Boolean:
            continue
        if not isinstance(values.dtype, pl.List):
            rho = _rank_correlation(values, known)
            found += [(name, rho)] if abs(rho) >= GIVEN_AWAY else []
    return found


def _rank_correlation(values: pl.Series, known: pl.Series) -> float:
    """Spearman's coefficient; 0 where the values are too few or too much alike to say anything."""
    pairs = pl.DataFrame({"value": values, "known": known}).drop_nulls()
    if len(pairs) < MIN_ROWS_TO_CORRELATE or pairs["value"].n_unique() < len(pairs) / 2:
        return 0.0
    rho = pairs.select(pl.all().rank()).select(pl.corr("known", "value")).item()
    return 0.0 if rho is None or np.isnan(rho) else float(rho)


def _ids(ids: list[str]) -> pl.Series:
    """Ids as numbers where all of them are numbers, else as text."""
    text = pl.Series("value", ids, dtype=pl.String)
    number = text.cast(pl.Int64, strict=False)
    return text if number.null_count() else number
