"""Ranking metrics over a whole catalogue, and bootstrap intervals over users.

Knows nothing of methods, data sets or protocols: it turns scores and relevant items into figures.

Shape legend: B users of a block, N items, K ranks, M metrics, U users, C columns, R resamples.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

METRICS = ("ndcg@10", "recall@20", "hr@10")
"""The columns of `user_metrics`."""

NO_ITEM = -1
"""Fills the ranks for which no candidate is left."""

_RANKS = 20


def top_items(
    scores_BN: NDArray[np.floating], excluded_BN: NDArray[np.bool_], k: int
) -> NDArray[np.int64]:
    """The k best candidates of every row, best first; ties by ascending item code.

    Args:
        scores_BN: scores, higher is better, no NaN.
        excluded_BN: True where an item is no candidate.
        k: ranks wanted, at least 1; fewer come back where N is smaller.

    Returns:
        (B, min(k, N)) item codes, `NO_ITEM` where a row has fewer candidates.
    """
    masked_BN = np.where(excluded_BN, -np.inf, scores_BN)
    k = min(k, masked_BN.shape[1])
    kth_B1 = np.partition(masked_BN, -k, axis=1)[:, -k][:, None]
    keep_BN = masked_BN >= kth_B1
    crowded = np.flatnonzero(np.count_nonzero(keep_BN, axis=1) > k)
    if len(crowded):
        keep_BN[crowded] = _first_ties(masked_BN[crowded], kth_B1[crowded], k)
    # Exactly k survive in every row, in ascending code order, so a stable sort breaks ties by code.
    codes_BK = np.nonzero(keep_BN)[1].reshape(-1, k)
    kept_BK = np.take_along_axis(masked_BN, codes_BK, axis=1)
    order_BK = np.argsort(-kept_BK, axis=1, kind="stable")
    ranked_BK = np.take_along_axis(codes_BK, order_BK, axis=1)
    absent_BK = np.take_along_axis(excluded_BN, ranked_BK, axis=1)
    return np.where(absent_BK, NO_ITEM, ranked_BK)


def _first_ties(
    scores_BN: NDArray[np.floating], kth_B1: NDArray[np.floating], k: int
) -> NDArray[np.bool_]:
    """Mark exactly k items a row: all above the k-th score, then ties by ascending code."""
    above_BN = scores_BN > kth_B1
    tied_BN = scores_BN == kth_B1
    room_B1 = k - np.count_nonzero(above_BN, axis=1)[:, None]
    first_BN: NDArray[np.bool_] = tied_BN & (np.cumsum(tied_BN, axis=1) <= room_B1)
    return above_BN | first_BN


def ndcg(
    hits_BK: NDArray[np.bool_], relevant_B: NDArray[np.integer], k: int
) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain with binary gains, (B,).

    Args:
        hits_BK: whether the item at each rank is relevant, at least k ranks or all there are.
        relevant_B: how many items are relevant; the ideal list holds min(relevant, k) of them.
        k: ranks that count.

    Source: Järvelin and Kekäläinen (2002), with log2(rank + 1) as the discount.
    """
    discount_K = 1.0 / np.log2(np.arange(2, k + 2))
    ideal_K = np.concatenate([[0.0], np.cumsum(discount_K)])
    ranks = min(k, hits_BK.shape[1])
    gained_B: NDArray[np.float64] = hits_BK[:, :ranks].astype(np.float64) @ discount_K[:ranks]
    gained_B /= np.maximum(ideal_K[np.minimum(relevant_B, k)], discount_K[-1])
    return gained_B


def recall(
    hits_BK: NDArray[np.bool_], relevant_B: NDArray[np.integer], k: int
) -> NDArray[np.float64]:
    """Share of all relevant items that the first k ranks hold, (B,)."""
    found_B: NDArray[np.float64] = np.sum(hits_BK[:, :k], axis=1, dtype=np.float64)
    found_B /= np.maximum(relevant_B, 1)
    return found_B


def hit_rate(hits_BK: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """1 where the first k ranks hold a relevant item, else 0, (B,)."""
    found_B: NDArray[np.bool_] = np.any(hits_BK[:, :k], axis=1)
    return found_B.astype(np.float64)


def user_metrics(
    scores_BN: NDArray[np.floating],
    excluded_BN: NDArray[np.bool_],
    relevant_BN: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Every metric of `METRICS` for every user, (B, M).

    Args:
        scores_BN: scores, higher is better, no NaN.
        excluded_BN: True where an item is no candidate of the user.
        relevant_BN: True where an item is in the user's query; none of them is excluded.
    """
    ranked_BK = top_items(scores_BN, excluded_BN, _RANKS)
    hits_BK = np.take_along_axis(relevant_BN, np.maximum(ranked_BK, 0), axis=1)
    hits_BK &= ranked_BK != NO_ITEM
    relevant_B = np.count_nonzero(relevant_BN, axis=1)
    return np.stack(
        [ndcg(hits_BK, relevant_B, 10), recall(hits_BK, relevant_B, 20), hit_rate(hits_BK, 10)],
        axis=1,
    )


def bootstrap_means(
    values: Sequence[NDArray[np.floating]],
    rng: np.random.Generator,
    *,
    resamples: int = 10_000,
    block: int = 512,
) -> NDArray[np.float64]:
    """Means over resampled users, (R, C), the same users for every column.

    Differences between columns of the result are therefore paired. Users are drawn with
    replacement within their group (one group a seed) and pooled, each user with equal weight.

    Args:
        values: one (U, C) array a group; the columns agree.
        rng: source of the resamples.
        resamples: R.
        block: resamples drawn at a time, which bounds the memory to block x U weights.

    Raises:
        ValueError: no group, or a group without users.

    Source: Efron and Tibshirani (1993), chapter 8 (stratified resampling).
    """
    sizes = [len(group) for group in values]
    if not sizes or min(sizes) == 0:
        raise ValueError(f"groups of {sizes} users: every group needs at least one user")
    means_RC = np.empty((resamples, values[0].shape[1]))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        total_RC = np.zeros((rows, values[0].shape[1]))
        for group_UC in values:
            users = len(group_UC)
            weights_RU = rng.multinomial(users, np.full(users, 1.0 / users), size=rows)
            total_RC += weights_RU.astype(np.float64) @ group_UC
        means_RC[start : start + rows] = total_RC / sum(sizes)
    return means_RC


def interval(means_R: NDArray[np.floating], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of resampled means: (low, high)."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means_R, [tail, 1.0 - tail])
    return float(low), float(high)
