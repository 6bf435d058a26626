"""A data set in figures, and what a person should look at before training on it.

Knows nothing of files or of printing to a terminal.
"""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from training.datasets.dataset import ColumnConfig, Dataset, labels
from training.datasets.features import fit_schema
from training.datasets.leaks import leaks

SHORT_HISTORY = 3


def describe(dataset: Dataset) -> dict[str, Any]:
    """Counts, rules, feature columns, guesses and warnings, as one JSON document."""
    rows, report = dataset.interactions, dataset.report
    positives_E = labels(dataset)
    n_active = int(rows.user_E.max()) + 1
    n_touched = int(rows.item_E.max()) + 1
    per_user_U = np.bincount(rows.user_E)
    positives_U = np.bincount(rows.user_E, weights=positives_E)
    return {
        "name": dataset.name,
        "users": dataset.n_users,
        "users_without_interactions": dataset.n_users - n_active,
        "items": dataset.n_items,
        "items_without_interactions": dataset.n_items - n_touched,
        "interactions": len(rows),
        "positives": int(positives_E.sum()),
        "density": len(rows) / (n_active * n_touched),
        "interactions_per_user": _spread(per_user_U),
        "positives_per_user": _spread(positives_U),
        "positive_rule": str(dataset.config.rules.positive or "every interaction"),
        "events": _events(dataset),
        "time": _time(dataset),
        "title_column": dataset.config.title_column,
        "user_features": _features(dataset.users, dataset.config.user_columns),
        "item_features": _features(dataset.items, dataset.config.item_columns),
        "rows_read": report.rows_read,
        "rows_skipped": report.rows_skipped,
        "repeats_merged": report.repeats_merged,
        "guesses": list(report.guesses),
        "warnings": [*report.warnings, *_warnings(dataset, positives_U)],
        "sha256": dataset.sha256,
    }


def _spread(count_U: Any) -> dict[str, float]:
    median, high = np.quantile(count_U, (0.5, 0.9))
    return {
        "min": float(count_U.min()),
        "median": float(median),
        "p90": float(high),
        "max": float(count_U.max()),
        "mean": float(count_U.mean()),
    }


def _events(dataset: Dataset) -> dict[str, dict[str, float]]:
    rows = dataset.interactions
    if rows.event_E is None:
        return {}
    weights = dataset.config.rules.event_weights
    return {
        name: {"rows": int((rows.event_E == code).sum()), "weight": weights.get(name, 1.0)}
        for code, name in enumerate(rows.event_names)
    }


def _time(dataset: Dataset) -> dict[str, Any]:
    rows = dataset.interactions
    if rows.timestamp_E is None:
        order = "by the column `order`" if rows.has_order else "that of the file (no time is known)"
        return {"known": False, "order": order}
    first, last = int(rows.timestamp_E.min()), int(rows.timestamp_E.max())
    return {
        "known": True,
        "unit": dataset.config.timestamp_unit,
        "first": _date(first),
        "last": _date(last),
    }


def _date(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def _features(frame: pl.DataFrame | None, columns: dict[str, ColumnConfig]) -> list[dict[str, Any]]:
    """Kind, coverage (share of rows that hold a value) and encoded width of each column."""
    if frame is None:
        return []
    widths = {c.name: c.width for c in fit_schema(frame, columns).columns}
    return [
        {
            "name": name,
            "kind": columns[name].kind,
            "coverage": round(1 - frame[name].null_count() / max(1, len(frame)), 4),
            "positions": widths.get(name, 0),
        }
        for name in frame.columns
    ]


def _warnings(dataset: Dataset, positives_U: Any) -> list[str]:
    found = []
    rows = dataset.interactions
    without = int((positives_U == 0).sum())
    if without > len(positives_U) / 10:
        found.append(
            f"{without} of {len(positives_U)} users have no positive interaction: "
            "they teach nothing; check interactions.positive"
        )
    if np.median(np.bincount(rows.user_E)) < SHORT_HISTORY:
        found.append(
            f"half of the users have fewer than {SHORT_HISTORY} interactions: "
            "expect content and popularity to matter more than adaptation"
        )
    if rows.timestamp_E is not None:
        found += _time_warnings(rows.user_E, rows.timestamp_E)
    return [*found, *leaks(dataset)]


def _time_warnings(user_E: Any, timestamp_E: Any) -> list[str]:
    found = []
    if int(timestamp_E.max()) < 315_532_800_000:  # 1980
        found.append(
            f"the last interaction is of {_date(int(timestamp_E.max()))}: if the column is a "
            "count and no time, call it `order`; else set interactions.timestamp_unit"
        )
    next_E = user_E[1:] == user_E[:-1]
    share = float((timestamp_E[1:] == timestamp_E[:-1])[next_E].mean()) if next_E.any() else 0.0
    if share > 0.5:
        found.append(
            f"{share:.0%} of the users' next interactions have the time of the one before: "
            "their order is that of the file"
        )
    return found


def lines(facts: dict[str, Any]) -> list[str]:
    """`describe`'s document as text for a person."""
    spread = facts["interactions_per_user"]
    text = [
        f"{facts['name']}: {facts['users']:,} users, {facts['items']:,} items, "
        f"{facts['interactions']:,} interactions (density {facts['density']:.3%})",
        f"positive        {facts['positives']:,} interactions, by the rule: "
        f"{facts['positive_rule']}",
        f"a user has      {spread['median']:g} interactions (median; {spread['min']:g} to "
        f"{spread['max']:g}), {facts['positives_per_user']['median']:g} positive",
        f"never seen      {facts['users_without_interactions']:,} users, "
        f"{facts['items_without_interactions']:,} items have no interaction",
        f"time            {_time_line(facts['time'])}",
    ]
    text += [
        f"event           {name}: {e['rows']:,} rows, weight {e['weight']:g}"
        for name, e in facts["events"].items()
    ]
    for side in ("user", "item"):
        columns = facts[f"{side}_features"]
        text += [
            f"{side} feature    {c['name']}: {c['kind']}, {c['coverage']:.0%} of {side}s have it, "
            f"{c['positions']} positions"
            for c in columns
        ]
        if not columns:
            text.append(f"{side} feature    none")
    text += [f"skipped         {n:,} rows: {why}" for why, n in facts["rows_skipped"].items()]
    if facts["repeats_merged"]:
        text.append(f"merged          {facts['repeats_merged']:,} repeats of a user and an item")
    text += [f"guessed         {sentence}" for sentence in facts["guesses"]]
    text += [f"warning         {sentence}" for sentence in facts["warnings"]]
    return text


def _time_line(time: dict[str, Any]) -> str:
    if not time["known"]:
        return f"none; the order within a user is {time['order']}"
    return f"{time['first']} to {time['last']}"
