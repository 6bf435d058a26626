"""Memory and time of importing and loading a large data set, each in a process of its own.

    python benchmarks/import_memory.py --interactions 10000000

Generates the data set, then prints the peak resident memory (MiB) and the seconds of
`data import` (from Parquet and from CSV) and of `load`. The bound is 4 GiB for 10 million.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from training.datasets.synth import SynthSpec, write_synth

BOUND_MIB = 4096
LOAD = """
import sys
from pathlib import Path
from training.datasets import load
load(Path(sys.argv[1]))
"""
IMPORT = "import sys; from training.cli import run; sys.exit(run(sys.argv[1:]))"


def measure(name: str, code: str, *arguments: str) -> float:
    """Run Python code in a fresh process; print and return its peak memory in MiB."""
    started_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{name} failed with exit code {process.returncode}")
    peak_mib = usage.ru_maxrss / 1024
    cpu_s = usage.ru_utime + usage.ru_stime
    print(
        f"{name:24} {peak_mib:7.0f} MiB  {time.monotonic() - started_s:6.1f} s  {cpu_s:6.1f} CPU s"
    )
    return peak_mib


def to_csv(source: Path, out: Path) -> None:
    """The same data set with its interactions as CSV."""
    out.mkdir()
    table = pl.scan_parquet(source / "interactions.parquet")
    table.sink_csv(out / "interactions.csv")
    for name in ("users.parquet", "items.parquet"):
        (out / name).write_bytes((source / name).read_bytes())


def main() -> None:
    """Generate, measure, compare with the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    spec = SynthSpec(flags.users, flags.items, flags.interactions, ratings=True)
    print(f"{spec}, seed {flags.seed}, {os.cpu_count()} cores, {platform.processor()}")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_synth(spec, flags.seed, work / "parquet")
        to_csv(work / "parquet", work / "csv")
        peaks = [
            measure(
                f"import from {kind}",
                IMPORT,
                *("data", "import", str(work / kind), "--out", str(work / f"{kind}-out")),
            )
            for kind in ("parquet", "csv")
        ]
        peaks.append(measure("load", LOAD, str(work / "parquet-out")))
    own_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'generate (this process)':24} {own_mib:7.0f} MiB")
    print(f"highest peak {max(peaks):.0f} MiB, bound {BOUND_MIB} MiB")


if __name__ == "__main__":
    main()
