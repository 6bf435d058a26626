"""Decide how the item-item kernel joins the user vector, on validation users.

Form and weights are searched on a grid that is stated in quantiles of the data, so that nothing is
chosen per data set by hand. By lists and not by likelihood: most of a query lies where the kernel
says nothing, so likelihood trusts the vector at the top of the list too, where the kernel is right.

Knows nothing of how either part was trained. Shape legend: U users, S support rows, N items,
C items of a user that can reach the list, G settings of the grid.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from recsvc.contract.manifest import PoolingSpec
from recsvc.contract.pooling import lift, log_total
from training.methods import ColdUsers, Score, excluded_items, relevant_items, user_blocks
from training.metrics import NO_ITEM, ndcg, top_items

Mass = Callable[[NDArray[np.int32]], NDArray[np.float32]]
"""support_US -> A, (U, N)."""

_THETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
_BETAS = (0.7, 1.0, 1.4, 2.0)
_LEVELS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
"""alpha is this quantile of log A - theta (z - L): the share of what speaks that stays below 1."""
_LIST = 10
_CELLS = 3_000_000
"""Users x items x sizes that are searched: bounds the time."""


@dataclass(frozen=True, slots=True)
class PoolingChoice:
    """The best pooling, and whether it is worth serving."""

    pooling: PoolingSpec
    gain: float
    """nDCG@10 of pooled minus vector, averaged over support sizes; chosen on one half of the users
    and measured on the other, both ways."""
    error: float
    """Its standard error."""
    users: int

    @property
    def worth_it(self) -> bool:
        """Whether the gain is beyond its standard error."""
        return self.gain > self.error


@dataclass(frozen=True, slots=True)
class _Lists:
    """What can reach the lists of the users at one support size."""

    size: int
    score_UC: NDArray[np.float64]
    """z; -inf where a user has fewer than C."""
    mass_UC: NDArray[np.float64]
    hit_UC: NDArray[np.bool_]
    total_U1: NDArray[np.float64]
    """L."""
    relevant_U: NDArray[np.int64]

    def ndcg(self, pooling: PoolingSpec | None) -> NDArray[np.float64]:
        """nDCG@10 of every user."""
        score_UC = self.score_UC
        if pooling is not None:
            score_UC = score_UC + lift(score_UC, self.mass_UC, self.total_U1, self.size, pooling)
        ranked_UK = top_items(score_UC, np.isneginf(self.score_UC), _LIST)
        hits_UK = np.take_along_axis(self.hit_UC, np.maximum(ranked_UK, 0), axis=1)
        return ndcg(hits_UK & (ranked_UK != NO_ITEM), self.relevant_U, _LIST)

    def alpha(self, theta: float, level: float) -> float:
        """The quantile of log A - theta (z - L) over all that has a mass."""
        at = (self.mass_UC > 0) & ~np.isneginf(self.score_UC)
        if not at.any():
            return 0.0
        offset_UC = np.where(at, self.score_UC, 0.0) - self.total_U1
        exponent = np.log(self.mass_UC[at]) - theta * offset_UC[at]
        return float(np.quantile(exponent, level))


def choose_pooling(
    users: ColdUsers,
    candidates_N: NDArray[np.bool_],
    sizes: Sequence[int],
    score: Score,
    mass: Mass,
    rank_W: Sequence[float],
) -> PoolingChoice:
    """Search the grid on validation users.

    Args:
        users: at least two.
        candidates_N: items with a training positive; L runs over them.
        sizes: support sizes that are measured, ascending; 0 is left out.
        score: of the user vector.
        mass: of the kernel.
        rank_W: the kernel's factors by recency; they go into the spec as they are.
    """
    supported = [n for n in sizes if n > 0]
    users = users.head(_affordable(users, supported, mass))
    lists = [_lists(users, candidates_N, n, score, mass) for n in supported]
    grid = list(_grid(lists, users.window_UW.shape[1], rank_W))
    base_U = np.mean([at.ndcg(None) for at in lists], axis=0)
    gain_GU = np.stack([np.mean([at.ndcg(p) for at in lists], axis=0) - base_U for p in grid])
    half_U = np.arange(users.n_users) % 2 == 0
    crossed = [
        gain_GU[int(gain_GU[:, here].mean(axis=1).argmax())][~here] for here in (half_U, ~half_U)
    ]
    gains_U = np.concatenate(crossed)
    return PoolingChoice(
        pooling=grid[int(gain_GU.mean(axis=1).argmax())],
        gain=float(gains_U.mean()),
        error=float(gains_U.std() / np.sqrt(len(gains_U))),
        users=users.n_users,
    )


def _grid(lists: Sequence[_Lists], window: int, rank_W: Sequence[float]) -> Iterator[PoolingSpec]:
    sizes = [at.size for at in lists]
    for theta, level in product(_THETAS, _LEVELS):
        alphas = np.interp(np.arange(window + 1), sizes, [at.alpha(theta, level) for at in lists])
        for beta in _BETAS:
            yield PoolingSpec(
                rank=tuple(rank_W),
                alpha=tuple(alphas.tolist()),
                beta=(beta,) * (window + 1),
                theta=theta,
            )


def _affordable(users: ColdUsers, sizes: Sequence[int], mass: Mass) -> int:
    """How many users are searched, so that all their lists have at most `_CELLS` items."""
    some = users.head(32)
    width = max(int((mass(some.window_UW) > 0).sum(axis=1).mean()), _LIST)
    return max(2, _CELLS // (width * len(sizes)))


def _lists(
    users: ColdUsers, candidates_N: NDArray[np.bool_], n: int, score: Score, mass: Mass
) -> _Lists:
    rows_of = [_user_rows(users, rows, candidates_N, n, score, mass) for rows in user_blocks(users)]
    found = [user for block in rows_of for user in block]
    width = max(len(scores) for scores, _, _, _, _ in found)
    score_UC = np.full((len(found), width), -np.inf)
    mass_UC = np.zeros((len(found), width))
    hit_UC = np.zeros((len(found), width), dtype=np.bool_)
    for u, (scores, masses, hits, _, _) in enumerate(found):
        score_UC[u, : len(scores)] = scores
        mass_UC[u, : len(scores)] = masses
        hit_UC[u, : len(scores)] = hits
    total_U1 = np.array([[total] for _, _, _, total, _ in found])
    relevant_U = np.array([relevant for *_, relevant in found])
    return _Lists(n, score_UC, mass_UC, hit_UC, total_U1, relevant_U)


_User = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], float, int]
"""z, A and whether it is in the query, of what can reach a user's list; L; size of the query."""


def _user_rows(
    users: ColdUsers,
    rows: NDArray[np.int64],
    candidates_N: NDArray[np.bool_],
    n: int,
    score: Score,
    mass: Mass,
) -> list[_User]:
    support_BS = users.window_UW[rows, :n]
    score_BN = score(support_BS, users.features[rows], n)
    mass_BN = mass(support_BS)
    closed_BN = excluded_items(users, rows, n, candidates_N, "masked")
    relevant_BN = relevant_items(users, rows)
    silent_BK = top_items(score_BN, closed_BN | (mass_BN > 0), _LIST)
    found = []
    for b in range(len(rows)):
        silent = silent_BK[b][silent_BK[b] != NO_ITEM]
        reach = np.concatenate([np.flatnonzero((mass_BN[b] > 0) & ~closed_BN[b]), silent])
        total = log_total(score_BN[b][candidates_N])
        relevant = int(relevant_BN[b].sum())
        found.append(
            (score_BN[b, reach], mass_BN[b, reach], relevant_BN[b, reach], total, relevant)
        )
    return found
