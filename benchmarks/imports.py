"""What the service's process imports: how long each package takes, and from which files.

Each question is asked of a Python process of its own, which imports what `recsvc serve` imports.
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_SERVICE = "import recsvc.cli, recsvc.cli.serve, recsvc.app"
_LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.M)
_FILES = """
import re, sys
for module in list(sys.modules.values()):
    for name in ("__file__", "__cached__"):
        print(getattr(module, name, None) or "")
with open("/proc/self/maps") as maps:
    print("\\n".join(re.findall(r"/.*\\.so.*", maps.read())))
"""


@dataclass(frozen=True, slots=True)
class ImportedPackage:
    """One top-level package and all of its modules."""

    name: str
    self_ms: float
    """Without what other packages take that it imports."""
    modules: int


def import_costs() -> list[ImportedPackage]:
    """The packages that the service imports, the dearest first."""
    process = _python("-X", "importtime", "-c", _SERVICE)
    self_us: defaultdict[str, list[int]] = defaultdict(list)
    for microseconds, module in _LINE.findall(process.stderr):
        self_us[module.partition(".")[0]].append(int(microseconds))
    packages = [ImportedPackage(k, sum(v) / 1e3, len(v)) for k, v in self_us.items()]
    return sorted(packages, key=lambda package: -package.self_ms)


def imported_files() -> list[Path]:
    """Every file that these imports read or map: sources, byte code, shared libraries."""
    process = _python("-c", _SERVICE + _FILES)
    return sorted({path for line in process.stdout.splitlines() if (path := Path(line)).is_file()})


def forget(files: list[Path]) -> None:
    """Ask the kernel to drop its cached copy of files; it keeps what a process has mapped."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    process = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if process.returncode != 0:
        raise SystemExit(f"the service's modules cannot be imported:\n{process.stderr}")
    return process
