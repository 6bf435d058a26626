"""Posterior steps: against the exact solution, and where there is nothing to adapt to."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.items.adapt import AdaptParameters, adapt_items

ITEMS, ROWS, DIMS = 5, 4, 3


def parameters() -> AdaptParameters:
    values = (np.log(3.0), np.log(2.0))
    return AdaptParameters(*(torch.tensor(v, dtype=torch.float32) for v in values))


def inputs(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    weight_IS = (draw(ITEMS, ROWS) > 0.3).float()
    return {
        "prior_ID": draw(ITEMS, DIMS) - 0.5,
        "support_ISD": draw(ITEMS, ROWS, DIMS) - 0.5,
        "weight_IS": weight_IS,
        "exposure_I": draw(ITEMS),
        "gram_D": draw(DIMS) + 0.1,
    }


def exact(at: dict[str, Any], item: int) -> Tensor:
    """The module's equation for one item, solved densely."""
    weights = at["weight_IS"][item]
    rows = at["support_ISD"][item]
    left = 3.0 * rows.T @ torch.diag(weights) @ rows
    left += torch.diag(at["exposure_I"][item] * at["gram_D"]) + 2.0 * torch.eye(DIMS)
    solved: Tensor = torch.linalg.solve(left, 4.0 * weights @ rows + 2.0 * at["prior_ID"][item])
    return solved


def test_enough_steps_solve_the_equation() -> None:
    """Conjugate gradients end at the exact posterior mean after as many steps as dimensions."""
    at = inputs()
    found = adapt_items(**at, parameters=parameters(), steps=DIMS)
    for item in range(ITEMS):
        torch.testing.assert_close(found[item], exact(at, item), rtol=1e-4, atol=1e-5)


def test_two_steps_come_close() -> None:
    """Two steps are within five per cent of the exact solution."""
    at = inputs(1)
    found = adapt_items(**at, parameters=parameters())
    for item in range(ITEMS):
        wanted = exact(at, item)
        assert float((found[item] - wanted).norm() / wanted.norm()) < 0.05


def test_without_support_and_exposure_the_prior_stays() -> None:
    """An item that nobody met keeps its prior exactly."""
    at = inputs()
    at["weight_IS"] = torch.zeros(ITEMS, ROWS)
    at["exposure_I"] = torch.zeros(ITEMS)
    found = adapt_items(**at, parameters=parameters())
    torch.testing.assert_close(found, at["prior_ID"])


def test_an_empty_support_is_an_ordinary_one() -> None:
    """No rows at all adapts as rows of weight zero do."""
    at = inputs()
    at["weight_IS"] = torch.zeros(ITEMS, ROWS)
    padded = adapt_items(**at, parameters=parameters())
    at["weight_IS"] = torch.zeros(ITEMS, 0)
    at["support_ISD"] = torch.zeros(ITEMS, 0, DIMS)
    torch.testing.assert_close(adapt_items(**at, parameters=parameters()), padded)


def test_padding_changes_nothing() -> None:
    """A row of weight zero is as no row."""
    at = inputs(2)
    found = adapt_items(**at, parameters=parameters())
    at["support_ISD"] = torch.cat([at["support_ISD"], torch.full((ITEMS, 2, DIMS), 7.0)], dim=1)
    at["weight_IS"] = torch.cat([at["weight_IS"], torch.zeros(ITEMS, 2)], dim=1)
    torch.testing.assert_close(adapt_items(**at, parameters=parameters()), found)


def test_a_batch_is_its_singles() -> None:
    """Every item adapts alone."""
    at = inputs(3)
    found = adapt_items(**at, parameters=parameters())
    for item in range(ITEMS):
        one = {k: v if k == "gram_D" else v[item : item + 1] for k, v in at.items()}
        torch.testing.assert_close(adapt_items(**one, parameters=parameters())[0], found[item])


@pytest.mark.parametrize("seed", [0, 1])
def test_it_differentiates(seed: int) -> None:
    """The gradient with respect to the prior's strength agrees with finite differences."""
    at = {k: v.double() for k, v in inputs(seed).items()}
    log_weight = torch.tensor(1.0, dtype=torch.float64)

    def total(log_strength: Tensor) -> Tensor:
        return adapt_items(**at, parameters=AdaptParameters(log_weight, log_strength)).sum()

    start = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total, (start,))
