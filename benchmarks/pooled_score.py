"""What the item-item kernel adds to the scan of the catalogue, side by side in one run.

    python benchmarks/pooled_score.py [--items 4000 1000000] [--support 50] [--edges 200] [--json]

Draws vectors and edges at random, then lets the scan, the scan with the kernel (theta 0 and not)
and the totals that reasons need take turns; prints medians and the ratios to the scan round by
round. Of a large catalogue only some items have edges: the support is drawn from those.

Shape legend: N items, S support rows, K vectors, D dims.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import orjson
from numpy.typing import NDArray

from recsvc.candidates import log_totals, scan
from recsvc.contract.manifest import PoolingSpec
from recsvc.contract.pooling import Edges, Kernel, add_kernel

SOURCES = 5000
"""Items with edges, at most."""
WINDOW = 20
EXPLAINED = 33
"""Scores that reasons compare: the served one, and one without each of 32 items."""

Floats = NDArray[np.float32]


class World:
    """Random items, a random user, and random edges."""

    def __init__(self, n_items: int, dims: int, support: int, edges: int) -> None:
        rng = np.random.default_rng(0)
        self.vectors_ND = rng.standard_normal((n_items, dims), dtype=np.float32)
        self.bias_N = rng.standard_normal(n_items, dtype=np.float32)
        self.users_KD = rng.standard_normal((EXPLAINED, dims), dtype=np.float32) * np.float32(0.1)
        sources, edges = min(n_items, SOURCES), min(n_items, edges)
        degree_N = np.where(np.arange(n_items) < sources, edges, 0)
        items = [np.sort(rng.choice(n_items, edges, replace=False)) for _ in range(sources)]
        self.edges = Edges(
            np.concatenate([[0], np.cumsum(degree_N)]),
            np.concatenate(items).astype(np.int32),
            rng.random(sources * edges, dtype=np.float32),
        )
        self.support_S = rng.choice(sources, min(support, sources), replace=False)
        self.weight_S = np.ones(len(self.support_S), dtype=np.float32)

    def scan(self) -> Floats:
        """The scan alone."""
        return scan(self.users_KD[0], [(self.vectors_ND, self.bias_N)])

    def pooled(self, theta: float) -> Callable[[], object]:
        """The scan, then the kernel."""
        sizes = (1.0,) * (WINDOW + 1)
        pooling = PoolingSpec(rank=(1.0, 0.8, 0.7), alpha=sizes, beta=sizes, theta=theta)
        kernel = Kernel(self.edges, pooling)
        return lambda: add_kernel(self.scan(), kernel, self.support_S, self.weight_S)

    def totals(self) -> object:
        """What reasons need of the whole catalogue where theta is not 0."""
        return log_totals(self.users_KD, self.vectors_ND, self.bias_N)


def measure(world: World, rounds: int) -> dict[str, dict[str, float]]:
    """Let all take turns; milliseconds, and ratios to the scan of the same round."""
    contenders: dict[str, Callable[[], object]] = {
        "scan": world.scan,
        "scan and kernel, theta 0": world.pooled(0.0),
        "scan and kernel, theta .7": world.pooled(0.7),
        f"totals of {EXPLAINED} scores, for reasons": world.totals,
    }
    times_ms: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            started_s = time.perf_counter()
            contender()
            if number:  # the first round warms up
                times_ms[name].append(1e3 * (time.perf_counter() - started_s))
    base = times_ms["scan"]
    return {
        name: {
            "median_ms": median(taken),
            "ratio": median(t / b for t, b in zip(taken, base, strict=True)),
        }
        for name, taken in times_ms.items()
    }


def main() -> None:
    """Measure every size and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[4000, 1_000_000])
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--support", type=int, default=50)
    parser.add_argument("--edges", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    found = {
        n: measure(World(n, flags.dims, flags.support, flags.edges), flags.rounds)
        for n in flags.items
    }
    if flags.json:
        print(orjson.dumps(found, option=orjson.OPT_NON_STR_KEYS).decode())
        return
    print(
        f"dims {flags.dims}, support {flags.support} rows, {flags.edges} edges each, "
        f"{os.cpu_count()} CPUs, load before {os.getloadavg()[0]:.1f}"
    )
    for n_items, rows in found.items():
        print(f"\n{n_items} items")
        for name, row in rows.items():
            print(f"  {name:36} {row['median_ms']:9.3f} ms   {row['ratio']:6.2f} x the scan")


if __name__ == "__main__":
    main()
