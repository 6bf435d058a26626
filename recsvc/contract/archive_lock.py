"""The archive's lock: who reads it sees files that stand still, who writes it waits for that.

Taken for as long as files are read or changed, not for as long as a drain runs. Knows nothing of
what is in the files.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recsvc.contract.errors import ArchiveBusyError

LOCK_FILE = ".files.lock"
WAIT_S = 600.0
"""How long to wait for the others: an erasure may rewrite every file."""
_POLL_S = 0.05


@contextmanager
def reading(archive: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Let no file of the archive change meanwhile. Several may read at a time.

    A directory that was never written by a drain, or a copy without its lock, is not locked.

    Raises:
        ArchiveBusyError: it is still being written after `wait_s`.
        OSError: the file system cannot lock.
    """
    try:
        descriptor = os.open(archive / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    with _held(descriptor, fcntl.LOCK_SH, f"archive {archive} is being written", wait_s):
        yield


@contextmanager
def writing(archive: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Let nobody read the archive meanwhile.

    Args:
        archive: a directory that is there.

    Raises:
        ArchiveBusyError: it is still being read after `wait_s`.
        OSError: it cannot be written, or the file system cannot lock.
    """
    descriptor = os.open(archive / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    with _held(descriptor, fcntl.LOCK_EX, f"archive {archive} is being read", wait_s):
        yield


@contextmanager
def _held(
    descriptor: int,
    kind: int,
    busy: str,
    wait_s: float,
    clock_s: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """The lock, until the block ends or the process dies."""
    try:
        deadline_s = clock_s() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if clock_s() >= deadline_s:
                    raise ArchiveBusyError(
                        f"{busy} by another process for {wait_s:g} s; wait for it or stop it"
                    ) from exc
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)
