"""Generate a data set from known latent factors, for tests and for runs at scale.

Knows nothing of how it will be learned. A user picks items one after the other, without
replacement, with probability proportional to popularity x exp(sharpness x user . item), where
popularity falls with rank as in Zipf's law. Features of users and items are noisy views of their
factors.

Shape legend: U users, N items, D dims, B users of a piece, M candidates, S picks.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.datasets.store import new_directory, write_pieces
from training.errors import SettingError

SHARPNESS = 2.5
ZIPF = 0.7
CANDIDATES_A_PICK = 8
CELLS_A_PIECE = 2_000_000
START_S = 1_577_836_800  # 2020-01-01
JOINING_DAYS = 300
MEAN_GAP_S = 6 * 3600

_FIRST = ("Silent", "Golden", "Last", "Broken", "Hidden", "Distant", "Crimson", "Early")
_SECOND = ("River", "Machine", "Garden", "Signal", "Empire", "Winter", "Letter", "Harbour")


@dataclass(frozen=True, slots=True)
class SynthSpec:
    """What to generate."""

    users: int
    items: int
    interactions: int
    dims: int = 8
    ratings: bool = False
    """Whether interactions carry a rating of 1 to 5 that grows with user . item."""

    def check(self) -> None:
        """Raise SettingError where this cannot be generated."""
        for name, value, least in (
            ("users", self.users, 2),
            ("items", self.items, 4),
            ("dims", self.dims, 1),
        ):
            if value < least:
                raise SettingError(f"--{name} {value}: at least {least} is needed")
        most = self.users * (self.items // 2)
        if not self.users <= self.interactions <= most:
            raise SettingError(
                f"--interactions {self.interactions}: {self.users} users and {self.items} items "
                f"allow {self.users} (one a user) to {most} (half of the items each)"
            )


@dataclass(frozen=True, slots=True)
class Truth:
    """What the data were generated from."""

    user_UD: NDArray[np.float32]
    item_ND: NDArray[np.float32]
    log_popularity_N: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SynthData:
    """A generated data set in memory, in the columns of our layout."""

    interactions: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    truth: Truth


def synth(spec: SynthSpec, seed: int) -> SynthData:
    """Generate a data set in memory.

    Raises:
        SettingError: the sizes do not fit together.
    """
    spec.check()
    rng = np.random.default_rng(seed)
    truth = draw_truth(spec, rng)
    users, items = _user_frame(truth, rng), _item_frame(truth, rng)
    return SynthData(pl.concat(pieces(spec, truth, rng)), users, items, truth)


def write_synth(
    spec: SynthSpec, seed: int, out: Path, on_rows: Callable[[int], None] = lambda _: None
) -> None:
    """Generate a data set to a directory, piece by piece; the truth goes to `truth.npz`.

    Args:
        on_rows: called with the number of rows of each piece written.

    Raises:
        SettingError: the sizes do not fit together.
        DataError: `out` exists and is not empty, or cannot be written.
    """
    spec.check()
    rng = np.random.default_rng(seed)
    truth = draw_truth(spec, rng)

    def counted() -> Iterator[pl.DataFrame]:
        for piece in pieces(spec, truth, rng):
            yield piece
            on_rows(len(piece))

    with new_directory(out) as aside:
        _user_frame(truth, rng).write_parquet(aside / "users.parquet")
        _item_frame(truth, rng).write_parquet(aside / "items.parquet")
        write_pieces(aside / "interactions.parquet", counted())
        np.savez(
            aside / "truth.npz",
            user_UD=truth.user_UD,
            item_ND=truth.item_ND,
            log_popularity_N=truth.log_popularity_N,
        )


def draw_truth(spec: SynthSpec, rng: np.random.Generator) -> Truth:
    """Factors of length about 1 and a Zipf-like popularity, in random order of the items."""
    scale = 1 / math.sqrt(spec.dims)
    user_UD = rng.normal(0, scale, (spec.users, spec.dims)).astype(np.float32)
    item_ND = rng.normal(0, scale, (spec.items, spec.dims)).astype(np.float32)
    log_popularity_N = -ZIPF * np.log1p(rng.permutation(spec.items)).astype(np.float32)
    return Truth(user_UD, item_ND, log_popularity_N)


def pieces(spec: SynthSpec, truth: Truth, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    """Interactions of a few users at a time; a user's rows stand together, in time order."""
    picks_U = _picks(spec, rng)
    busiest_first = np.argsort(-picks_U, kind="stable")
    start = 0
    while start < spec.users:
        most = int(picks_U[busiest_first[start]])
        n_candidates = min(spec.items, CANDIDATES_A_PICK * most)
        user_B = busiest_first[start : start + max(1, CELLS_A_PIECE // n_candidates)]
        item_BS = _pick(truth, user_B, picks_U[user_B], n_candidates, rng)
        yield _rows(spec, truth, user_B, picks_U[user_B], item_BS, rng)
        start += len(user_B)


def _picks(spec: SynthSpec, rng: np.random.Generator) -> NDArray[np.int64]:
    """(U,) how many items each user picks: log-normal, at least 1, at most half of the items."""
    weight_U = rng.lognormal(0, 0.8, spec.users)
    most = spec.items // 2
    picks_U = np.ones(spec.users, dtype=np.int64)
    while (left := spec.interactions - int(picks_U.sum())) > 0:
        open_U = np.where(picks_U < most, weight_U, 0.0)
        share_U = np.floor(open_U / open_U.sum() * left).astype(np.int64)
        if not share_U.any():
            share_U[np.argsort(-open_U, kind="stable")[:left]] = 1
            share_U[open_U == 0] = 0
        picks_U = np.minimum(picks_U + share_U, most)
    return picks_U


def _pick(
    truth: Truth,
    user_B: NDArray[np.int64],
    picks_B: NDArray[np.int64],
    n_candidates: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """(B, S) items in the order of picking, S the largest number of picks.

    Gumbel noise added to the log-weights sorts them as picking without replacement does. Where
    the catalogue is large, candidates are drawn by popularity first.
    """
    n_items = len(truth.item_ND)
    most = int(picks_B.max())
    if n_candidates < n_items:
        popularity_N = np.exp(truth.log_popularity_N.astype(np.float64))
        bounds_N = np.cumsum(popularity_N / popularity_N.sum())
        drawn_BM = np.searchsorted(bounds_N, rng.random((len(user_B), n_candidates)))
        item_BM = np.sort(np.minimum(drawn_BM, n_items - 1), axis=1)
        again_BM = np.zeros(item_BM.shape, dtype=np.bool_)
        again_BM[:, 1:] = item_BM[:, 1:] == item_BM[:, :-1]
        if ((~again_BM).sum(axis=1) >= picks_B).all():
            affinity_BM = np.einsum("bd,bmd->bm", truth.user_UD[user_B], truth.item_ND[item_BM])
            key_BM = SHARPNESS * affinity_BM + rng.gumbel(size=item_BM.shape)
            key_BM[again_BM] = -np.inf
            return np.take_along_axis(item_BM, _top(key_BM, most), axis=1)
    key_BN = SHARPNESS * truth.user_UD[user_B] @ truth.item_ND.T + truth.log_popularity_N
    return _top(key_BN + rng.gumbel(size=key_BN.shape), most)


def _top(key_BM: NDArray[np.floating], most: int) -> NDArray[np.int64]:
    return np.argsort(-key_BM, axis=1, kind="stable")[:, :most]


def _rows(
    spec: SynthSpec,
    truth: Truth,
    user_B: NDArray[np.int64],
    picks_B: NDArray[np.int64],
    item_BS: NDArray[np.int64],
    rng: np.random.Generator,
) -> pl.DataFrame:
    shape = item_BS.shape
    joined_B1 = rng.uniform(0, JOINING_DAYS * 86_400, (len(user_B), 1))
    time_BS = START_S + joined_B1 + np.cumsum(1 + rng.exponential(MEAN_GAP_S, shape), axis=1)
    picked_BS = np.arange(shape[1]) < picks_B[:, None]
    user_E = np.repeat(user_B, picks_B)
    item_E = item_BS[picked_BS]
    columns: dict[str, object] = {"user_id": _ids("u", user_E), "item_id": _ids("i", item_E)}
    if spec.ratings:
        affinity_E = np.einsum("ed,ed->e", truth.user_UD[user_E], truth.item_ND[item_E])
        z_E = affinity_E * math.sqrt(spec.dims) + rng.normal(0, 0.5, len(user_E))
        columns["rating"] = np.clip(np.round(3.0 + z_E), 1, 5).astype(np.float32)
    columns["timestamp"] = time_BS[picked_BS].astype(np.int64)
    return pl.DataFrame(columns)


def _ids(prefix: str, code_E: NDArray[np.int64]) -> pl.Series:
    return pl.select(pl.lit(prefix) + pl.Series(code_E).cast(pl.String)).to_series()


def _user_frame(truth: Truth, rng: np.random.Generator) -> pl.DataFrame:
    n_users, dims = truth.user_UD.shape
    noisy_UD = truth.user_UD * math.sqrt(dims) + rng.normal(0, 0.3, truth.user_UD.shape)
    return pl.DataFrame(
        {
            "user_id": _ids("u", np.arange(n_users)),
            "group": _ids("group-", noisy_UD.argmax(axis=1)),
            "age": np.clip(np.round(40 + 12 * noisy_UD[:, 0]), 16, 90).astype(np.int64),
        }
    )


def _item_frame(truth: Truth, rng: np.random.Generator) -> pl.DataFrame:
    n_items, dims = truth.item_ND.shape
    noisy_ND = truth.item_ND * math.sqrt(dims) + rng.normal(0, 0.3, truth.item_ND.shape)
    best_N = noisy_ND.argmax(axis=1)
    worst_N = noisy_ND.argmin(axis=1)
    genres = [
        "|".join(f"genre-{d}" for d in range(dims) if row[d] > 0.8 or d == best)
        for row, best in zip(noisy_ND, best_N, strict=True)
    ]
    return pl.DataFrame(
        {
            "item_id": _ids("i", np.arange(n_items)),
            "title": [
                f"{_FIRST[best % 8]} {_SECOND[worst % 8]} {n}"
                for n, (best, worst) in enumerate(zip(best_N, worst_N, strict=True))
            ],
            "genres": genres,
            "year": np.clip(np.round(2005 + 8 * noisy_ND[:, 0]), 1950, 2019).astype(np.int64),
        }
    )
