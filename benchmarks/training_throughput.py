"""Tasks a second of meta-training: the product against a loop over tasks and against vmap(grad).

    python benchmarks/training_throughput.py

One meta-step is the inner loop over the full catalogue, the query loss and the second-order
backward pass; the optimiser's step is left out. All three do the same work on the same batch, which
is checked first, with the same number of threads, in rounds that take turns.

Shape legend: B tasks, S support rows, Q query rows, N items, D dims, F feature positions.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import torch
from reference_maml import loop_loss, vmap_loss
from torch import Tensor

from training.algorithms.maml import Batch, meta_loss
from training.model import ColdStartModel, ModelConfig
from training.outer_loop import TrainConfig

MetaLoss = Callable[[ColdStartModel, Batch, Tensor], Tensor]
FORMS: dict[str, MetaLoss] = {
    "loop over tasks": loop_loss,
    "vmap(grad)": vmap_loss,
    "product": meta_loss,
}
BOUNDS = {"loop over tasks": 15.0, "vmap(grad)": 2.0}
TOLERANCE = 1e-4
USER_FEATURES = 30
ITEM_FEATURES = 20


def make_model(flags: argparse.Namespace, generator: torch.Generator) -> ColdStartModel:
    """A model somewhere in the middle of training: no parameter at its special starting value."""
    config = ModelConfig(
        n_items=flags.items,
        user_features=USER_FEATURES,
        item_features=ITEM_FEATURES,
        dims=flags.dims,
        steps=flags.steps,
        window=flags.support,
    )
    bias_N = -np.log1p(np.arange(flags.items, dtype=np.float32))
    means = np.zeros(USER_FEATURES), np.zeros(ITEM_FEATURES)
    model = ColdStartModel(config, bias_N, *means, seed=flags.seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def make_item_features(flags: argparse.Namespace, generator: torch.Generator) -> Tensor:
    """An intercept and indicators, one in ten set, as a sparse (N, F) tensor."""
    features_NF = (torch.rand(flags.items, ITEM_FEATURES, generator=generator) < 0.1).float()
    features_NF[:, 0] = 1.0
    return features_NF.to_sparse()


def make_batch(flags: argparse.Namespace, generator: torch.Generator) -> Batch:
    """Tasks whose support, which is the whole window, and query are different random items."""
    tasks, support, query = flags.tasks, flags.support, flags.query
    order_BN = torch.rand(tasks, flags.items, generator=generator).argsort(dim=1)
    support_BS, query_BQ = order_BN[:, :support], order_BN[:, support : support + query]
    features_BF = torch.rand(tasks, USER_FEATURES, generator=generator)
    features_BF[:, 0] = 1.0
    return Batch(
        features_BF=features_BF,
        support_BS=support_BS,
        query_row=torch.arange(tasks).repeat_interleave(query),
        query_item=query_BQ.reshape(-1),
        query_weight=torch.full((tasks * query,), query**-0.5),
        masked_row=torch.arange(tasks).repeat_interleave(support),
        masked_item=support_BS.reshape(-1),
    )


def meta_step(form: MetaLoss, model: ColdStartModel, batch: Batch, features_NF: Tensor) -> float:
    """Forward and backward; the gradients stay in the model. Returns the loss."""
    model.zero_grad(set_to_none=True)
    loss = form(model, batch, features_NF)
    torch.autograd.backward(loss)
    return float(loss.item())


def check_agreement(model: ColdStartModel, batch: Batch, features_NF: Tensor) -> float:
    """The largest relative difference from the product, over the loss and every gradient.

    Raises:
        SystemExit: it is above the tolerance.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, form in FORMS.items():
        loss = meta_step(form, model, batch, features_NF)
        gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
        found[name] = {"loss": torch.tensor(loss), **gradients}
    expected = found.pop("product")
    worst = 0.0
    for name, values in found.items():
        for key, value in expected.items():
            error = float((values[key] - value).norm() / value.norm())
            worst = max(worst, error)
            if not error <= TOLERANCE:
                raise SystemExit(f"{name} differs from the product in {key} by {error:.1e}")
    return worst


def time_rounds(
    step: Callable[[MetaLoss], float], rounds: int, round_s: float
) -> dict[str, list[float]]:
    """Seconds a meta-step of every form and round.

    Args:
        step: takes one meta-step in a form.
        rounds: in each, every form has its turn.
        round_s: about so long is a turn, at least one step.
    """
    repeats = {}
    for name, form in FORMS.items():
        step(form)
        once_s = _seconds(step, form, 1)
        repeats[name] = max(1, round(round_s / once_s))
    seconds: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(rounds):
        for name, form in FORMS.items():
            seconds[name].append(_seconds(step, form, repeats[name]) / repeats[name])
    return seconds


def _seconds(step: Callable[[MetaLoss], float], form: MetaLoss, repeats: int) -> float:
    started_s = time.perf_counter()
    for _ in range(repeats):
        step(form)
    return time.perf_counter() - started_s


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def figures(seconds: dict[str, list[float]], tasks: int) -> dict[str, Any]:
    """Tasks a second, and how many times faster the product is, round by round."""
    product = seconds["product"]
    return {
        "tasks_per_s": {k: spread([tasks / s for s in v]) for k, v in seconds.items()},
        "product_faster": {
            name: spread([s / p for s, p in zip(seconds[name], product, strict=True)])
            for name in BOUNDS
        },
    }


def show(found: dict[str, Any]) -> None:
    """Print tables for a person."""
    print(f"{'tasks a second':24}{'median':>10}{'least':>10}{'most':>10}")
    for name, row in found["tasks_per_s"].items():
        print(f"{name:24}{row['median']:10.0f}{row['least']:10.0f}{row['most']:10.0f}")
    print(f"\n{'product is faster than':24}{'median':>10}{'least':>10}{'most':>10}{'bound':>10}")
    for name, row in found["product_faster"].items():
        ratios = f"{row['median']:10.1f}{row['least']:10.1f}{row['most']:10.1f}"
        print(f"{name:24}{ratios}{BOUNDS[name]:10.0f}")


def parse_flags() -> argparse.Namespace:
    """The command line."""
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=64, help="tasks a batch")
    parser.add_argument("--support", type=int, default=20, help="support rows a task")
    parser.add_argument("--query", type=int, default=20, help="query rows a task")
    parser.add_argument("--dims", type=int, default=defaults.dims)
    parser.add_argument("--steps", type=int, default=defaults.steps, help="inner steps")
    parser.add_argument("--items", type=int, default=3500, help="catalogue of the inner loss")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--matmul-precision",
        choices=("highest", "high", "medium"),
        default=torch.get_float32_matmul_precision(),
        help="torch's setting, for all forms",
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--round-s", type=float, default=0.5, help="seconds a form and round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def main() -> None:
    """Check that the three agree, time them, show."""
    flags = parse_flags()
    torch.set_num_threads(flags.threads)
    torch.set_float32_matmul_precision(flags.matmul_precision)
    generator = torch.Generator().manual_seed(flags.seed)
    model, batch = make_model(flags, generator), make_batch(flags, generator)
    features_NF = make_item_features(flags, generator)
    setting = {**vars(flags), "cpus": os.cpu_count(), "load_before": os.getloadavg()[0]}
    setting |= {"processor": platform.processor(), "torch": torch.__version__}
    difference = check_agreement(model, batch, features_NF)
    seconds = time_rounds(
        lambda form: meta_step(form, model, batch, features_NF), flags.rounds, flags.round_s
    )
    found = {"largest_difference": difference, **figures(seconds, flags.tasks)}
    if flags.json:
        print(orjson.dumps({**setting, **found}).decode())
        return
    print(", ".join(f"{name} {value}" for name, value in setting.items() if name != "json"))
    print(f"same loss and meta-gradient: largest relative difference {difference:.1e}\n")
    show(found)


if __name__ == "__main__":
    main()
