"""The archive's lock: readers together, a writer alone."""

import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from recsvc.contract.archive_lock import LOCK_FILE, reading, writing
from recsvc.contract.errors import ArchiveBusyError


def refused(lock: AbstractContextManager[None], words: str) -> None:
    """Fail unless the lock is not to be had."""
    with pytest.raises(ArchiveBusyError, match=words), lock:
        pass


def test_readers_read_together(tmp_path: Path) -> None:
    """No reader waits for another; nothing is written while one reads."""
    with writing(tmp_path):
        pass
    with reading(tmp_path), reading(tmp_path, wait_s=0):
        refused(writing(tmp_path, wait_s=0), f"{tmp_path} is being read")
    with writing(tmp_path, wait_s=0):
        refused(reading(tmp_path, wait_s=0), f"{tmp_path} is being written")


def test_a_writer_waits_for_the_reader(tmp_path: Path) -> None:
    """It goes on when the reader has ended."""
    with writing(tmp_path):
        pass
    entered = threading.Event()

    def write() -> None:
        with writing(tmp_path):
            entered.set()

    thread = threading.Thread(target=write)
    with reading(tmp_path):
        thread.start()
        assert not entered.wait(0.2)
    thread.join(timeout=30)
    assert entered.is_set()


def test_what_was_never_locked_is_read(tmp_path: Path) -> None:
    """An empty directory, none at all, or a copy without the lock: nobody writes there."""
    for archive in (tmp_path, tmp_path / "none"):
        with reading(archive, wait_s=0):
            assert not (archive / LOCK_FILE).exists()


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    """The lock goes with the process."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from recsvc.contract.archive_lock import writing\n"
        "with writing(Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], timeout=60)
    assert done.returncode == -9
    with reading(tmp_path, wait_s=0):
        pass
