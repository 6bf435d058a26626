"""A small shop for the protocol of cold items: two tastes, told by the items' only column."""

from pathlib import Path

import numpy as np

from training.items.shared import SharedItems
from training.items.task import ItemMethod
from training.outer_loop import TrainConfig
from training.protocols.registry import MethodSpec

USERS, ITEMS, PER_USER = 160, 80, 16
"""Of a shop as it is made where nothing else is asked."""
OURS = MethodSpec[ItemMethod](
    "ours", lambda: SharedItems(TrainConfig(max_epochs=10)), is_baseline=False
)
"""Our method with as many epochs as a shop needs."""


def write_shop(
    directory: Path,
    seed: int = 0,
    *,
    permuted: bool = False,
    timed: bool = True,
    items: int = ITEMS,
    per_user: int = PER_USER,
) -> Path:
    """Even users take items of the one kind, odd users of the other, popular ones more often.

    Args:
        directory: to make.
        seed: of the draws.
        permuted: users take items of either kind.
        timed: whether interactions have timestamps.
        items: in the catalogue, half of each kind.
        per_user: interactions of every user.
    """
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    kind = rng.permutation(np.arange(items) % 2)
    pull = rng.gamma(2.0, size=items)
    lines = ["user_id,item_id" + (",timestamp" if timed else "")]
    for user in range(USERS):
        allowed = np.arange(items) if permuted else np.flatnonzero(kind == user % 2)
        chance = pull[allowed] / pull[allowed].sum()
        taken = rng.choice(allowed, per_user, replace=False, p=chance)
        start = int(rng.integers(0, 200 * 86_400))
        for at, item in enumerate(taken):
            time = f",{1_000_000_000 + start + 60 * at}" if timed else ""
            lines.append(f"u{user:03d},i{item:03d}{time}")
    (directory / "interactions.csv").write_text("\n".join(lines) + "\n")
    rows = [f"i{i:03d},{'red' if kind[i] else 'blue'}" for i in range(items)]
    (directory / "items.csv").write_text("\n".join(["item_id,colour", *rows]) + "\n")
    return directory
