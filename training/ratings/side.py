"""What side information says before any rating: item levels and vectors from content, user vectors
from features and from which items a user chose to rate.

Knows nothing of how a support set is used.

Shape legend: N items, M known items, C columns to predict, U users, D dims, F features, K blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import svds

from training.baselines.search import search
from training.ratings.content import Blocks
from training.ratings.tasks import RatingData

_MOST_KNOWN = 4_000
_MOST_TUNED = 1_000
_WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
_NUGGETS = (0.1, 0.3, 1.0, 3.0, 10.0)
_HALF_KNOWN = 20.0


@dataclass(frozen=True, slots=True)
class ContentRegression:
    """Kernel ridge regression from item content to columns of item targets."""

    items: Blocks
    known_M: NDArray[np.int64]
    """Items that it learned from."""
    weight_K: tuple[float, ...]
    """Weight of each block's kernel."""
    nugget: float
    """Variance that content does not explain, for an item with countless ratings."""
    inverse_MM: NDArray[np.float64]

    def predict(
        self, target_NC: NDArray[np.float64], item: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Targets of some items from their content and the known items' targets, (len(item), C).

        An item without content gets the mean of the known.
        """
        known_MC = target_NC[self.known_M]
        mean_C = known_MC.mean(axis=0)
        kernel = _kernel(self.items, self.weight_K, item, self.known_M)
        found: NDArray[np.float64] = mean_C + kernel @ (self.inverse_MM @ (known_MC - mean_C))
        return found


def by_block(
    regression: ContentRegression, target_N: NDArray[np.float64], item: NDArray[np.integer]
) -> NDArray[np.float64]:
    """One predicted target in parts, (1 + K, items): the known mean, then what each block adds."""
    known_M = target_N[regression.known_M]
    solved_M = regression.inverse_MM @ (known_M - known_M.mean())
    parts = [np.full(len(item), known_M.mean())]
    for k, weight in enumerate(regression.weight_K):
        kernel = _kernel(_one(regression.items, k), (weight,), item, regression.known_M)
        parts.append(kernel @ solved_M)
    return np.stack(parts)


def fit_content(data: RatingData, target_N: NDArray[np.float64], seed: int) -> ContentRegression:
    """Choose block weights by leave-one-out error of one target, in closed form.

    An item's target is trusted by its number of ratings. Where there are many items, the weights
    are chosen on a random part of them and the regression learns from those with most ratings.

    Args:
        data: training ratings and item content.
        target_N: for example item biases.
        seed: of the random part.

    Source: Rasmussen and Williams (2006), equation 5.12, for the leave-one-out residuals.
    """
    counts_N = data.counts_N
    known_M = np.sort(np.argsort(-counts_N, kind="stable")[:_MOST_KNOWN])
    known_M = known_M[counts_N[known_M] > 0]
    rng = np.random.default_rng(seed)
    part = np.sort(rng.permutation(known_M)[:_MOST_TUNED])
    kernels = [_kernel(_one(data.items, k), (1.0,), part, part) for k in range(_blocks(data))]
    scale = float(np.var(target_N[part]))
    axes: dict[str, Sequence[float]] = {f"w{k}": _WEIGHTS for k in range(len(kernels))}
    axes["nugget"] = _NUGGETS
    start = {name: 0.2 if name != "nugget" else 1.0 for name in axes}

    def figure(settings: dict[str, float]) -> float:
        weights = [settings[f"w{k}"] for k in range(len(kernels))]
        kernel = sum((w * k for w, k in zip(weights, kernels, strict=True)), np.zeros(1))
        variance_M = _variance(counts_N[part], settings["nugget"])
        inverse_MM = np.linalg.inv(kernel + np.diag(variance_M))
        centred_M = target_N[part] - target_N[part].mean()
        left_M = inverse_MM @ centred_M / np.diag(inverse_MM)
        return -float(np.average(np.square(left_M), weights=1.0 / variance_M)) / max(scale, 1e-12)

    chosen, _ = search(axes, [start], figure, sweeps=1)
    weight_K = tuple(chosen[f"w{k}"] for k in range(len(kernels)))
    variance_M = _variance(counts_N[known_M], chosen["nugget"])
    full = _kernel(data.items, weight_K, known_M, known_M) + np.diag(variance_M)
    inverse_MM = np.linalg.inv(full).astype(np.float64, copy=False)
    return ContentRegression(data.items, known_M, weight_K, chosen["nugget"], inverse_MM)


def _variance(count_M: NDArray[np.integer], nugget: float) -> NDArray[np.float64]:
    """Variance of targets around what content says, by ratings: the nugget, doubled at 20."""
    variance_M: NDArray[np.float64] = nugget * (1.0 + _HALF_KNOWN / np.maximum(count_M, 1))
    return variance_M


def _blocks(data: RatingData) -> int:
    return len(data.items.matrices)


def _one(blocks: Blocks, k: int) -> Blocks:
    return Blocks(blocks.n_rows, blocks.names[k : k + 1], blocks.matrices[k : k + 1])


def _kernel(
    blocks: Blocks,
    weights: Sequence[float],
    left: NDArray[np.integer],
    right: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Weighted sum of the blocks' cosines between items, (len(left), len(right))."""
    total = np.zeros((len(left), len(right)))
    for weight, matrix in zip(weights, blocks.matrices, strict=True):
        if weight > 0:
            total += weight * (matrix[left] @ matrix[right].T).toarray()
    return total


def taste_vectors(data: RatingData, dims: int) -> NDArray[np.float64]:
    """Item vectors from who rated what, whatever the rating, (N, D).

    The right singular vectors of the users' sets of items, each set of length 1.
    """
    sets = csr_matrix(
        (np.ones(len(data.ratings)), (data.ratings.user_E, data.ratings.item_E)),
        (data.n_users, data.n_items),
    )
    dims = min(dims, int(np.count_nonzero(data.counts_N)) - 1)
    if dims < 1:
        return np.zeros((data.n_items, 0))
    start = np.random.default_rng(data.seed).standard_normal(min(sets.shape))
    size_U = np.asarray(sets.sum(axis=1))[:, 0]
    _, _, right_DN = svds(diags(1.0 / np.sqrt(np.maximum(size_U, 1.0))) @ sets, k=dims, v0=start)
    return np.ascontiguousarray(right_DN.T)


def ridge(
    inputs_UF: NDArray[np.float64], target_UC: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Ridge regression with a free intercept as the first row of the result, (1 + F, C)."""
    with_one = np.concatenate([np.ones((len(inputs_UF), 1)), inputs_UF], axis=1)
    penalty = np.full(with_one.shape[1], strength)
    penalty[0] = 1e-9
    solved: NDArray[np.float64] = np.linalg.solve(
        with_one.T @ with_one + np.diag(penalty), with_one.T @ target_UC
    )
    return solved


def apply(inputs_UF: NDArray[np.float64], weight_FC: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `ridge` found for other rows."""
    said: NDArray[np.float64] = weight_FC[0] + inputs_UF @ weight_FC[1:]
    return said


def dense_features(users: Blocks, rows: NDArray[np.integer], least: int) -> NDArray[np.float64]:
    """User features that at least `least` of some users have, for all users, (U, F)."""
    stacked = users.stacked()
    kept = np.flatnonzero(stacked[rows].getnnz(axis=0) >= least)
    dense: NDArray[np.float64] = stacked[:, kept].toarray()
    return dense
