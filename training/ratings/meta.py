"""Our rating predictor: a closed-form adaptation whose weights are learned from query errors.

Knows nothing of how cold users and items are held out.

The inner problem is solved exactly and differentiated through (as Bertinetto et al., 2019, do for
a ridge head): the outer loss is the smoothed absolute error on the queries of held-out users, and
its gradient reaches the kernels' weights, the noise, and the trust in every prior. Factors and
other ingredients are fitted without the users and items that the weights are learned on, so the
weights learn what a stranger's ratings are worth.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.ratings.closed_form import Theta, adapt, inputs, start
from training.ratings.knowledge import Knowledge, learn
from training.ratings.tasks import (
    REGIMES,
    Chosen,
    HeldOut,
    Predict,
    RatingData,
    RatingSplit,
    RatingTasks,
    by_regime,
    tuning_tasks,
)

_BLOCK = 128
_SMOOTH = 0.1  # errors below it count quadratically


class MetaRatings:
    """Ours."""

    name = "ours"

    def __init__(
        self,
        dims: Sequence[int] = (4, 8, 16),
        *,
        meta_steps: int = 100,
        tasks_a_step: int = 48,
        learning_rate: float = 0.03,
    ) -> None:
        self._dims = tuple(dims)
        self._meta_steps = meta_steps
        self._tasks_a_step = tasks_a_step
        self._learning_rate = learning_rate

    def choose(self, tuning: RatingSplit) -> Chosen:
        knowledge = learn(tuning.data, self._dims)
        thetas = {
            name: self._meta_train(knowledge, tuning_tasks(tuning, name), tuning.data.seed)
            for name in REGIMES
        }
        settings = {name: _to_json(theta) for name, theta in thetas.items()}
        return Chosen(settings, _predictor(knowledge, thetas))

    def train(self, data: RatingData, settings: Mapping[str, Any]) -> Predict:
        thetas = {name: _from_json(settings[name]) for name in REGIMES}
        return _predictor(learn(data, self._dims), thetas)

    def _meta_train(self, knowledge: Knowledge, tasks: Sequence[HeldOut], seed: int) -> Theta:
        """Outer loop: gradient steps on the query error, through the closed form."""
        rng = np.random.default_rng(seed)
        theta = start(knowledge)
        tensors = [tensor.requires_grad_() for tensor in theta.tensors()]
        optimiser = torch.optim.Adam(tensors, lr=self._learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self._meta_steps)
        for step in range(self._meta_steps):
            held = tasks[step % len(tasks)]
            size = min(self._tasks_a_step, len(held))
            part = held.take(np.sort(rng.permutation(len(held))[:size]))
            error_BQ = adapt(inputs(knowledge, part.tasks), theta)
            error_BQ = error_BQ + knowledge.mean - torch.from_numpy(part.rating_BQ)
            loss = torch.mean(torch.sqrt(torch.square(error_BQ) + _SMOOTH**2))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch declares no types here
            optimiser.step()
            schedule.step()
        return theta.detached()


def _predictor(knowledge: Knowledge, thetas: Mapping[str, Theta]) -> Predict:
    models = {name: _with(knowledge, theta) for name, theta in thetas.items()}
    return by_regime(models, knowledge.counts_N)


def _with(knowledge: Knowledge, theta: Theta) -> Predict:
    @torch.no_grad()
    def predict(tasks: RatingTasks) -> NDArray[np.float64]:
        found_BQ = np.empty(tasks.query_item_BQ.shape)
        for first in range(0, len(tasks), _BLOCK):
            rows = np.arange(first, min(first + _BLOCK, len(tasks)))
            part = adapt(inputs(knowledge, tasks.take(rows)), theta)
            found_BQ[rows] = knowledge.mean + part.numpy()
        return found_BQ

    return predict


def _to_json(theta: Theta) -> dict[str, Any]:
    return {
        name: tensor.tolist()
        for name, tensor in zip(Theta.__dataclass_fields__, theta.tensors(), strict=True)
    }


def _from_json(found: Mapping[str, Any]) -> Theta:
    return Theta(
        *(torch.tensor(found[name], dtype=torch.float64) for name in Theta.__dataclass_fields__)
    )
