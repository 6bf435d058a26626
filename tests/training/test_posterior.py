"""Adapting items: known answers, the gradient, and nothing where there is nothing to adapt to."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training import posterior
from training.posterior import PosteriorParameters, adapt_items

D, M = 3, 60


def parameters(
    spread: float = 0.5,
    weight: float = 1.0,
    first: float = 1.0,
    burst: float = 0.0,
    ceiling: float = 10.0,
    offset: float = 0.0,
) -> PosteriorParameters:
    generator = torch.Generator().manual_seed(5)
    root_PP = torch.tril(torch.randn(D + 1, D + 1, generator=generator) * 0.2 * spread)
    root_PP = root_PP + spread * torch.eye(D + 1)
    return PosteriorParameters(
        root_PP,
        torch.tensor(weight),
        torch.tensor(burst),
        torch.tensor(first),
        torch.tensor(ceiling),
        torch.tensor(offset),
    )


def inputs(items: int = 4, rows: int = 5, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "prior_BP": draw(items, D + 1) * 0.3,
        "support_states_BSD": draw(items, rows, D),
        "support_weight_BS": (draw(items, rows) > -0.5).float(),
        "exposure_B": torch.exp(draw(items) + 7.0),
        "sample_states_MD": draw(M, D),
        "sample_offset_M": draw(M) * 0.3 + 6.0,
    }


def log_posterior(theta_P: Tensor, at: dict[str, Any], i: int, p: PosteriorParameters) -> Tensor:
    """The module's formula for one item."""
    sample_MP = torch.cat([at["sample_states_MD"], torch.ones(M, 1)], dim=1).double()
    states_SD = at["support_states_BSD"][i]
    support_SP = torch.cat([states_SD, torch.ones(len(states_SD), 1)], dim=1).double()
    weight_S = at["support_weight_BS"][i].double()
    first = float(p.first_event) * float(weight_S.sum().clamp(max=1.0))
    mean = torch.exp(sample_MP @ theta_P - at["sample_offset_M"].double()).mean()
    met = (
        (at["exposure_B"][i].double() - first).clamp(min=0.0) + p.burst
    ) * p.exposure_weight.double()
    z_P = torch.linalg.solve(p.root_PP.double(), theta_P - at["prior_BP"][i].double())
    gain = (weight_S * (support_SP @ theta_P)).sum()
    value: Tensor = gain - met * mean - first * torch.log(mean) - 0.5 * (z_P**2).sum()
    return value


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_the_gradient_is_that_of_the_formula(first: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many steps end, autograd's gradient of the written formula is zero."""
    monkeypatch.setattr(posterior, "NEWTON_STEPS", 12)
    monkeypatch.setattr(posterior, "SOLVER_STEPS", 12)
    at, p = inputs(), parameters(first=first)
    for i, found_P in enumerate(adapt_items(**at, parameters=p)):
        theta_P = found_P.double().requires_grad_()
        (at_found_P,) = torch.autograd.grad(log_posterior(theta_P, at, i, p), theta_P)
        start_P = at["prior_BP"][i].double().requires_grad_()
        (at_start_P,) = torch.autograd.grad(log_posterior(start_P, at, i, p), start_P)
        assert at_found_P.norm() < 1e-4 * at_start_P.norm()


def test_no_interaction_lifts_an_item_above_the_ceiling() -> None:
    """Where nothing else goes on an item ends at the popular items' level, its vector as it was."""
    at = inputs() | {"exposure_B": torch.full((4,), 5.0), "support_weight_BS": torch.ones(4, 5)}
    at["prior_BP"][:, -1] -= 6.0
    free_BP = adapt_items(**at, parameters=parameters())
    free_B, prior_B = _log_chances(free_BP, at), _log_chances(at["prior_BP"], at)
    level = float(free_B.median())
    assert (prior_B < level).all()
    cut_BP = adapt_items(**at, parameters=parameters(ceiling=level))
    torch.testing.assert_close(_log_chances(cut_BP, at), free_B.clamp(max=level))
    assert torch.equal(cut_BP[:, :-1], free_BP[:, :-1])


def test_the_offset_is_no_part_of_the_likelihood() -> None:
    """How much more new items are asked for says nothing of how often they are taken: the same
    interactions move an item by the same amount."""
    at = inputs()
    raised_BP = at["prior_BP"].clone()
    raised_BP[:, -1] += 1.5
    found_BP = adapt_items(**at, parameters=parameters())
    lifted_BP = adapt_items(**(at | {"prior_BP": raised_BP}), parameters=parameters(offset=1.5))
    assert torch.allclose(lifted_BP[:, :-1], found_BP[:, :-1], atol=1e-5)
    assert torch.allclose(lifted_BP[:, -1], found_BP[:, -1] + 1.5, atol=1e-5)


def test_an_item_whose_content_puts_it_above_the_ceiling_stays_there() -> None:
    """The ceiling holds back interactions, not content."""
    at = inputs() | {"exposure_B": torch.zeros(4), "support_weight_BS": torch.zeros(4, 5)}
    assert torch.equal(adapt_items(**at, parameters=parameters(ceiling=-50.0)), at["prior_BP"])


def _log_chances(theta_BP: Tensor, at: dict[str, Any]) -> Tensor:
    score_BM = theta_BP[:, :-1] @ at["sample_states_MD"].T + theta_BP[:, -1:]
    return torch.exp(score_BM - at["sample_offset_M"]).mean(dim=1).log()


def test_few_steps_come_close() -> None:
    """The steps that are taken leave under 2 % of what the posterior can rise."""
    at, p = inputs(items=20), parameters()
    found_BP = adapt_items(**at, parameters=p)
    for i in range(20):
        best_P = found_BP[i].double().requires_grad_()
        search = torch.optim.LBFGS([best_P], max_iter=200, line_search_fn="strong_wolfe")

        def loss(best_P: Tensor = best_P, i: int = i, search: Any = search) -> Tensor:
            search.zero_grad()
            value = -log_posterior(best_P, at, i, p)
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return value

        search.step(loss)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        start, top, reached = (
            float(log_posterior(t.double(), at, i, p))
            for t in (at["prior_BP"][i], best_P.detach(), found_BP[i])
        )
        assert top - reached <= 0.02 * (top - start) + 1e-6


def test_many_interactions_drown_the_prior() -> None:
    """With a flat user space the bias approaches the log rate that was seen."""
    at = inputs(items=1, rows=400)
    at["support_states_BSD"][:] = 0.0
    at["support_weight_BS"][:] = 1.0
    at["sample_states_MD"][:] = 0.0
    at["sample_offset_M"][:] = 6.0
    at["prior_BP"] = torch.tensor([[0.0, 0.0, 0.0, -4.0]])
    at["exposure_B"] = torch.tensor([20_000.0])
    found_P = adapt_items(**at, parameters=parameters(spread=2.0))[0]
    seen = np.log(400 / 20_000) + 6.0
    assert float(found_P[-1]) == pytest.approx(seen, abs=0.02)


def test_users_pull_the_vector_towards_themselves() -> None:
    """An item that users on one side took scores higher for them than its prior did, and lower on
    the other side."""
    at, p = inputs(items=1, rows=6), parameters()
    at["support_weight_BS"][:] = 1.0
    at["support_states_BSD"][:] = torch.tensor([1.0, 0.0, 0.0])
    moved_P = adapt_items(**at, parameters=p)[0] - at["prior_BP"][0]
    assert float(moved_P[0]) > 0.1


def test_nothing_seen_is_the_prior() -> None:
    """n = 0 and E = 0 change no bit, in a batch with other items as well."""
    at = inputs()
    at["support_weight_BS"][1] = 0.0
    at["exposure_B"][1] = 0.0
    assert torch.equal(adapt_items(**at, parameters=parameters())[1], at["prior_BP"][1])


def test_exposure_without_interactions_lowers_the_item() -> None:
    """Events that pass an item by say that it is taken less than its content promised."""
    at, p = inputs(), parameters()
    at["support_weight_BS"][:] = 0.0
    moved_BP = adapt_items(**at, parameters=p) - at["prior_BP"]
    assert (moved_BP[:, -1] < 0).all()


def test_when_the_first_event_came_does_not_matter() -> None:
    """One interaction, exposure counted from it: no level is learned, only whose it was."""
    at = inputs(items=1, rows=1)
    at["support_weight_BS"][:] = 1.0
    at["support_states_BSD"][:] = at["sample_states_MD"].mean(dim=0)
    at["sample_offset_M"][:] = 6.0
    at["prior_BP"][:, :D] = 0.0
    at["exposure_B"][:] = 1.0
    moved_P = adapt_items(**at, parameters=parameters())[0] - at["prior_BP"][0]
    assert float(moved_P.abs().max()) < 1e-4


def test_a_burst_does_not_look_like_popularity() -> None:
    """Three interactions in a row raise an item less where bursts are expected."""
    at = inputs(items=1, rows=3)
    at["support_weight_BS"][:] = 1.0
    at["exposure_B"][:] = 3.0
    calm, wary = (adapt_items(**at, parameters=parameters(burst=b))[0, -1] for b in (0.0, 300.0))
    assert float(wary) < float(calm) - 0.1


def test_unknown_exposure_keeps_the_level() -> None:
    """Without exposure a support of average users does not make an item popular."""
    at = inputs(items=1, rows=30)
    at["support_weight_BS"][:] = 1.0
    at["support_states_BSD"][0] = at["sample_states_MD"][:30]
    at["sample_states_MD"] = at["sample_states_MD"][:30]
    at["sample_offset_M"] = torch.full((30,), 6.0)
    at["prior_BP"] = torch.tensor([[0.0, 0.0, 0.0, -1.0]])
    at["exposure_B"][:] = 0.0
    moved_P = adapt_items(**at, parameters=parameters())[0] - at["prior_BP"][0]
    assert abs(float(moved_P[-1])) < 0.05


def test_a_batch_is_its_items_one_by_one() -> None:
    """No item sees another; padding rows count for nothing."""
    at, p = inputs(items=6), parameters()
    whole_BP = adapt_items(**at, parameters=p)
    for i in range(6):
        kept_S = at["support_weight_BS"][i] > 0
        one = at | {
            "prior_BP": at["prior_BP"][i : i + 1],
            "support_states_BSD": at["support_states_BSD"][i : i + 1, kept_S],
            "support_weight_BS": at["support_weight_BS"][i : i + 1, kept_S],
            "exposure_B": at["exposure_B"][i : i + 1],
        }
        torch.testing.assert_close(
            adapt_items(**one, parameters=p)[0], whole_BP[i], rtol=1e-5, atol=1e-5
        )


def test_extreme_inputs_stay_finite() -> None:
    """A burst (as many events as exposure), and a prior far too high, give numbers."""
    at = inputs(items=2, rows=50)
    at["support_weight_BS"][:] = 1.0
    at["exposure_B"] = torch.tensor([50.0, 1e9])
    at["prior_BP"][1, -1] = 40.0
    assert torch.isfinite(adapt_items(**at, parameters=parameters(spread=2.0))).all()
