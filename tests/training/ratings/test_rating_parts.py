"""The parts of rating predictors: tasks, biases, factors, the closed form, the monotone map."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.ratings.bias import fit_biases, fold_in_bias
from training.ratings.closed_form import Inputs, Theta, adapt
from training.ratings.content import blocks
from training.ratings.factors import Factors, als, em
from training.ratings.monotone import fit_monotone
from training.ratings.ridge_fold_in import fold_in
from training.ratings.tasks import RatingData, RatingTable, RatingTasks, episodes, grouped


def a_table(users: int = 30, items: int = 25, seed: int = 0) -> RatingTable:
    """A low-rank world, each pair with probability .8."""
    rng = np.random.default_rng(seed)
    exact = rng.standard_normal((users, 2)) @ rng.standard_normal((2, items))
    user, item = np.nonzero(rng.random((users, items)) < 0.8)
    return RatingTable(user, item, exact[user, item])


def some_data(table: RatingTable, users: int = 30, items: int = 25) -> RatingData:
    everyone = blocks(None, {}, np.ones(users, dtype=bool))
    return RatingData(table, everyone, blocks(None, {}, np.ones(items, dtype=bool)), 0)


def test_a_task_is_a_users_ratings_in_two_disjoint_parts() -> None:
    """Support and query together are what the user rated; too few or too many make no task."""
    table = a_table()
    held, asked = grouped(table, 13, 21, 10, np.random.default_rng(0))
    counts = np.bincount(table.user_E)
    wanted = np.flatnonzero((counts >= 13) & (counts <= 21))
    assert held.tasks.user_B.tolist() == wanted.tolist()
    rating_of = dict(zip(zip(table.user_E, table.item_E, strict=True), table.rating_E, strict=True))
    for row, user in enumerate(wanted):
        given = held.tasks.given_BS[row]
        support = held.tasks.support_item_BS[row][given]
        query = held.tasks.query_item_BQ[row]
        own = sorted(table.item_E[table.user_E == user].tolist())
        assert sorted([*support.tolist(), *query.tolist()]) == own
        assert [rating_of[user, i] for i in query] == held.rating_BQ[row].tolist()
        found = held.tasks.support_rating_BS[row][given].tolist()
        assert [rating_of[user, i] for i in support] == found
    assert sorted(asked.tolist()) == sorted(set(asked.tolist()))


def test_episodes_take_a_part_of_long_histories() -> None:
    """Every user with enough ratings has one task, never longer than allowed."""
    held = episodes(a_table(), 13, 15, 10, np.random.default_rng(0))
    assert len(held) == np.count_nonzero(np.bincount(a_table().user_E) >= 13)
    assert held.tasks.given_BS.sum(axis=1).max() == 5


def test_taking_tasks_cuts_the_padding() -> None:
    """The support is as wide as the longest one among those taken."""
    held, _ = grouped(a_table(), 13, 100, 10, np.random.default_rng(0))
    shortest = int(np.argmin(held.tasks.given_BS.sum(axis=1)))
    part = held.take(np.array([shortest]))
    assert part.tasks.given_BS.all()


def test_biases_of_an_additive_world_are_found() -> None:
    """Item and user levels add up; a new user's level is folded in from the support."""
    rng = np.random.default_rng(0)
    item_level, user_level = rng.standard_normal(25), rng.standard_normal(30)
    user, item = (a.ravel() for a in np.mgrid[:30, :25])
    table = RatingTable(user, item, 3.0 + item_level[item] + user_level[user])
    biases = fit_biases(some_data(table), 1e-6, 1e-6)
    centred = item_level - item_level.mean()
    assert biases.item_N - biases.item_N.mean() == pytest.approx(centred, abs=1e-3)
    support = np.arange(5)[None, :]
    ratings = biases.base(support) + 0.7
    tasks = RatingTasks(np.array([0]), support, ratings, np.array([[6]]))
    assert fold_in_bias(biases, tasks, 5.0) == pytest.approx([0.35])


@pytest.mark.parametrize("way", [als, em])
def test_factors_recover_a_low_rank_world(way: Callable[..., Factors]) -> None:
    """Two dims explain what two dims made."""
    table = a_table()
    found = way(some_data(table), table.rating_E, 2, 0.01, sweeps=30)
    said = np.einsum("ed,ed->e", found.item_ND[table.item_E], found.user_UD[table.user_E])
    assert np.mean(np.square(said - table.rating_E)) < 0.02 * np.var(table.rating_E)


def closed_form_inputs(seed: int = 0) -> tuple[Inputs, Theta]:
    rng = np.random.default_rng(seed)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape))

    given = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    kernels = ((tensor(2, 4, 2), tensor(2, 3, 2)), (tensor(2, 4, 3), tensor(2, 3, 3)))
    noise = torch.exp(tensor(2, 4))
    x = Inputs(
        given_BS=given,
        residual_BS=tensor(2, 4),
        level_LBS=tensor(2, 2, 4),
        level_LBQ=tensor(2, 2, 3),
        noise_BS=noise,
        prior_4BS=tensor(4, 2, 4),
        prior_4BQ=tensor(4, 2, 3),
        kernels=kernels,
    )
    theta = Theta(tensor(3), tensor(), tensor(), tensor(3), tensor(4))
    return x, theta


def test_the_closed_form_is_where_gradient_descent_ends() -> None:
    """Its prediction equals that of minimising the support's penalised squared error."""
    x, theta = closed_form_inputs()
    weights = torch.exp(0.5 * theta.log_weight_K)

    def space(constant: torch.Tensor, which: int) -> torch.Tensor:
        parts = [weights[0] * torch.ones_like(constant)[:, :, None]]
        parts += [w * pair[which] for w, pair in zip(weights[1:], x.kernels, strict=True)]
        return torch.cat(parts, dim=2)

    support, query = space(x.given_BS, 0), space(x.level_LBQ[0], 1)
    noise = torch.exp(theta.log_noise + theta.noise_power * torch.log(x.noise_BS))
    prior_S, prior_Q = (
        theta.level[0]
        + torch.einsum("l,lbx->bx", theta.level[1:], level)
        + torch.einsum("p,pbx->bx", theta.prior, prior)
        for level, prior in ((x.level_LBS, x.prior_4BS), (x.level_LBQ, x.prior_4BQ))
    )
    user = torch.zeros(2, support.shape[2], dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS([user], max_iter=60, tolerance_grad=1e-12, tolerance_change=0)

    def loss() -> torch.Tensor:
        descent.zero_grad()
        error = (support @ user[:, :, None])[:, :, 0] + prior_S - x.residual_BS
        total = (x.given_BS * error.square() / noise).sum() + user.square().sum()
        total.backward()  # type: ignore[no-untyped-call] # torch declares no types here
        return total

    descent.step(loss)  # type: ignore[no-untyped-call] # torch declares no types here
    expected = prior_Q + (query @ user.detach()[:, :, None])[:, :, 0]
    assert adapt(x, theta).numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_the_meta_gradient_agrees_with_finite_differences() -> None:
    """The gradient of a query error through the adaptation, for every learned weight."""
    x, theta = closed_form_inputs(1)
    tensors = [t.requires_grad_() for t in theta.tensors()]

    def query_error(*parts: torch.Tensor) -> torch.Tensor:
        return adapt(x, Theta(*parts)).square().mean()

    assert torch.autograd.gradcheck(query_error, tensors, eps=1e-6, atol=1e-5)


def test_padding_says_nothing() -> None:
    """Whatever stands in a padded row, predictions are the same."""
    x, theta = closed_form_inputs()
    before = adapt(x, theta)
    for tensor in (x.residual_BS, x.level_LBS[0], x.kernels[0][0]):
        tensor[0, 3] = 1e3
    assert torch.allclose(before, adapt(x, theta))


def test_ridge_fold_in_of_one_constant_is_a_shrunk_mean() -> None:
    """Three residuals of 2 with strength 1 and scale 1: 6 / 4."""
    tasks = RatingTasks(
        np.array([0]), np.array([[0, 1, 2, -1]]), np.array([[5.0, 5.0, 5.0, 0.0]]), np.array([[3]])
    )
    found = fold_in(np.full(4, 3.0), np.ones((4, 1)), tasks, np.zeros(1))
    assert found == pytest.approx(np.array([[4.5]]))


@pytest.mark.parametrize("dims", [2, 30])
def test_ridge_fold_in_minimises_the_penalised_error(dims: int) -> None:
    """With fewer and with more positions than the support has ratings."""
    rng = np.random.default_rng(0)
    space = rng.standard_normal((12, dims))
    items, ratings = np.arange(8)[None, :], rng.standard_normal((1, 8))
    tasks = RatingTasks(np.array([0]), items, ratings, np.array([[9, 10]]))
    normal = space[:8].T @ space[:8] + np.eye(dims)
    user = np.linalg.solve(normal, space[:8].T @ (ratings[0] - 0.3))
    expected = 0.3 + space[[9, 10]] @ user
    assert fold_in(np.zeros(12), space, tasks, np.array([0.3]))[0] == pytest.approx(expected)


def test_the_monotone_map_lowers_absolute_error_and_keeps_the_order() -> None:
    """Ratings are rounded: the map rests on levels, is increasing everywhere, and helps."""
    rng = np.random.default_rng(0)
    exact = rng.uniform(0.5, 5.5, (400, 10))
    rating = np.clip(np.round(exact + 0.25 * rng.standard_normal(exact.shape)), 1, 5)
    fitted = fit_monotone(exact[:200], rating[:200])
    before = np.abs(exact[200:] - rating[200:]).mean()
    after = np.abs(fitted(exact[200:]) - rating[200:]).mean()
    assert after < 0.85 * before
    grid = np.linspace(-3, 9, 500)
    assert (np.diff(fitted(grid)) > 0).all()
