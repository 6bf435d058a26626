"""Memory and time of importing, loading and training on a large data set.

    python benchmarks/large_data.py --interactions 10000000

Generates a data set of about MovieLens-10M's shape (10 million ratings, 10,000 items; with 100,000
users instead of its 70,000), then imports it, loads it and trains a version, everything that
`recsvc-train fit` does included. Each stage is a process of its own. Works in a temporary
directory, which it deletes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from processes import peak_rss_mib

BOUND_MIB = 4096
POLL_S = 0.05
LOAD = """
import sys
from pathlib import Path
from training.datasets import load
load(Path(sys.argv[1]))
"""
TRAIN = "import sys; from training.cli import run; sys.exit(run(sys.argv[1:]))"
STAGES = ("import-csv", "load", "fit")


@dataclass(frozen=True, slots=True)
class Use:
    """What one stage took."""

    peak_mib: float
    """VmHWM in 2^20 bytes, summed over the process and its children: no less than ever at once."""
    wall_s: float
    cpu_s: float


def measure(name: str, code: str, *arguments: str) -> Use:
    """Run Python code in a fresh process.

    Raises:
        SystemExit: it failed; shows what it wrote.
    """
    started_s = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdout=log, stderr=subprocess.STDOUT
        )
        peaks_mib: dict[int, float] = {}
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peaks_mib |= peak_rss_mib(process.pid)
            time.sleep(POLL_S)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            text = log.read().decode(errors="replace")
            raise SystemExit(f"{name} ended with exit code {process.returncode}:\n{text}")
    peaks_mib.pop(process.pid, None)
    # The kernel's own figure holds what the process took after the last look at it.
    peak_mib = usage.ru_maxrss / 1024 + sum(peaks_mib.values())
    return Use(peak_mib, time.monotonic() - started_s, usage.ru_utime + usage.ru_stime)


def to_csv(source: Path, out: Path) -> None:
    """The same data set with its interactions as CSV."""
    out.mkdir()
    pl.scan_parquet(source / "interactions.parquet").sink_csv(out / "interactions.csv")
    for name in ("users.parquet", "items.parquet"):
        (out / name).write_bytes((source / name).read_bytes())


def measure_stages(flags: argparse.Namespace, work: Path) -> dict[str, Use]:
    """Generate, import, and run the stages that are asked for."""
    sizes = [f"--{k}={getattr(flags, k)}" for k in ("users", "items", "interactions", "seed")]
    raw, csv, imported = work / "raw", work / "csv", work / "imported"
    done: dict[str, Use] = {}

    def stage(name: str, code: str, *arguments: str) -> None:
        done[name] = measure(name, code, *arguments)
        if not flags.json:
            show(name, done[name])

    stage("synth", TRAIN, "data", "synth", "--ratings", "--out", str(raw), *sizes)
    stage("import", TRAIN, "data", "import", str(raw), "--out", str(imported))
    if "import-csv" in flags.stages:
        to_csv(raw, csv)
        stage("import-csv", TRAIN, "data", "import", str(csv), "--out", str(work / "from-csv"))
    if "load" in flags.stages:
        stage("load", LOAD, str(imported))
    if "fit" in flags.stages:
        registry = str(work / "registry")
        options = [f"--{option}" for option in flags.fit]
        stage("fit", TRAIN, "fit", "--data", str(imported), "--registry", registry, *options)
    return done


def show(name: str, use: Use) -> None:
    """One line for a person."""
    print(
        f"{name:12} {use.peak_mib:7.0f} MiB {use.wall_s:8.1f} s {use.cpu_s:8.1f} CPU s", flush=True
    )


def main() -> None:
    """Generate, measure, compare with the bound; exit code 1 where it is passed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--fit", nargs="*", default=[], help="options of `fit`, as name=value")
    parser.add_argument("--json", action="store_true", help="print JSON")
    flags = parser.parse_args()
    setting: dict[str, Any] = {
        name: getattr(flags, name) for name in ("interactions", "users", "items", "seed")
    }
    setting |= {"cpus": os.cpu_count(), "load_before": os.getloadavg()[0], "bound_mib": BOUND_MIB}
    if not flags.json:
        print(", ".join(f"{name} {value}" for name, value in setting.items()))
    with tempfile.TemporaryDirectory(prefix="recsvc-large-") as temporary:
        uses = measure_stages(flags, Path(temporary))
    highest = max(uses, key=lambda name: uses[name].peak_mib)
    peak_mib = uses[highest].peak_mib
    if flags.json:
        stages = {name: asdict(use) for name, use in uses.items()}
        print(orjson.dumps({**setting, "stages": stages, "peak_mib": peak_mib}).decode())
    else:
        print(f"highest peak {peak_mib:.0f} MiB ({highest}), bound {BOUND_MIB} MiB")
    if peak_mib > BOUND_MIB:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
