"""The inner loop: analytic steps equal autograd's, and the meta-gradient is the true one."""

import pytest
import torch
from torch import Tensor

from training.inner_loop import InnerParameters, adapt

D, M, W = 4, 9, 3


def parameters(steps: int, dtype: torch.dtype = torch.float64) -> InnerParameters:
    generator = torch.Generator().manual_seed(1)
    return InnerParameters(
        rate_KD=(torch.randn(steps, D, generator=generator) * 0.2).to(dtype),
        size_rate_KW=(torch.randn(steps, W + 1, generator=generator) * 0.2).to(dtype),
        decay_K=torch.full((steps,), -1.0, dtype=dtype),
        shrinkage_W=torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=dtype),
    )


def batch(b: int, s: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(b * 100 + s)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "prior_BD": normal(b, D),
        "support_vectors_BSD": normal(b, s, D),
        "support_bias_BS": normal(b, s),
        "support_label_BS": torch.ones(b, s, dtype=torch.float64),
        "support_weight_BS": torch.rand(b, s, generator=generator, dtype=torch.float64) + 0.1,
        "steps": torch.tensor(10),
        "catalogue_vectors_MD": normal(M, D),
        "catalogue_bias_M": normal(M),
    }


def inner_loss(state_D: Tensor, task: dict[str, Tensor], b: int, decay: Tensor) -> Tensor:
    """The loss as its definition says, with torch's own cross entropy as the softmax part."""
    weight_S = task["support_weight_BS"][b] / task["support_weight_BS"][b].sum()
    logits_M = task["catalogue_vectors_MD"] @ state_D + task["catalogue_bias_M"]
    attraction = (weight_S * (task["support_vectors_BSD"][b] @ state_D)).sum()
    distance = ((state_D - task["prior_BD"][b]) ** 2).sum()
    return -attraction + torch.logsumexp(logits_M, 0) + decay.exp() / 2 * distance


def test_steps_follow_the_gradient_of_the_stated_loss() -> None:
    """Three steps by autograd on an independently written loss end at the same state."""
    task, inner = batch(3, 2), parameters(3)
    adapted = adapt(**task, parameters=inner)
    for b in range(3):
        state = task["prior_BD"][b].clone()
        for k in range(3):
            state = state.detach().requires_grad_()
            loss = inner_loss(state, task, b, inner.decay_K[k])
            (gradient,) = torch.autograd.grad(loss, state)
            state = state - torch.exp(inner.rate_KD[k] + inner.size_rate_KW[k, 2]) * gradient
        torch.testing.assert_close(adapted[b], state.detach(), rtol=1e-9, atol=1e-12)


def test_no_steps_and_no_support_are_the_identity() -> None:
    """K = 0 keeps the prior, and so does a support of size 0."""
    task = batch(2, 3)
    none = adapt(**(task | {"steps": torch.tensor(0)}), parameters=parameters(2))
    torch.testing.assert_close(none, task["prior_BD"], rtol=0, atol=0)
    empty = batch(2, 0)
    torch.testing.assert_close(
        adapt(**empty, parameters=parameters(2)), empty["prior_BD"], rtol=0, atol=0
    )


def test_a_batch_equals_its_singles() -> None:
    """Tasks do not see each other."""
    task, inner = batch(5, 3), parameters(2)
    together = adapt(**task, parameters=inner)
    for b in range(5):
        single = {
            n: v[b : b + 1] if n.endswith(("BD", "BSD", "BS")) else v for n, v in task.items()
        }
        torch.testing.assert_close(adapt(**single, parameters=inner)[0], together[b])


def test_padding_and_negative_rows_change_nothing() -> None:
    """A row of weight 0 and a row of label 0 are both left out."""
    task, inner = batch(2, 3), parameters(2)
    alone = {n: v[:, :2] if n.endswith(("BSD", "BS")) else v for n, v in task.items()}
    expected = adapt(**alone, parameters=inner)
    for name in ("support_weight_BS", "support_label_BS"):
        value = task[name].clone()
        value[:, 2] = 0.0
        torch.testing.assert_close(adapt(**(task | {name: value}), parameters=inner), expected)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_meta_gradient_matches_finite_differences(steps: int) -> None:
    """Second order: through the steps, by all that is meta-learned."""
    task, inner = batch(2, 2), parameters(steps)
    query = torch.tensor([1, 4])

    def outer_loss(
        prior: Tensor, catalogue: Tensor, rate: Tensor, size_rate: Tensor, decay: Tensor
    ) -> Tensor:
        state = adapt(
            **(task | {"prior_BD": prior, "catalogue_vectors_MD": catalogue}),
            parameters=InnerParameters(rate, size_rate, decay, inner.shrinkage_W),
        )
        logits = state @ catalogue.T + task["catalogue_bias_M"]
        return torch.nn.functional.cross_entropy(logits, query)

    leaves = [task["prior_BD"], task["catalogue_vectors_MD"], *inner[:3]]
    inputs = [leaf.clone().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(outer_loss, inputs, eps=1e-6, atol=1e-6)


def test_one_click_moves_the_user_towards_the_item() -> None:
    """The score of the item clicked rises against the mean of the catalogue."""
    task, inner = batch(1, 1), parameters(1)
    vectors = task["catalogue_vectors_MD"]
    task["support_vectors_BSD"] = vectors[None, None, 3]
    moved = (adapt(**task, parameters=inner) - task["prior_BD"]) @ vectors.T
    assert float(moved[0, 3]) > float(moved.mean())
