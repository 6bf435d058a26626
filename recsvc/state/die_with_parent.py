"""Run a command so that it ends when the thread that started it does. A program, not a module.

    python -I -S die_with_parent.py PARENT_PID PID_FILE COMMAND [ARGUMENT...]

Writes its process id, which stays the same when it becomes the command, to PID_FILE. Needs nothing
but the standard library. Linux has the means for it (prctl); elsewhere an orphan lives on until
the next start on its directory stops it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, pid_file: str, command: list[str]) -> None:
    """Become the command. Does not return."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone already")
    descriptor = os.open(pid_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, b"%d\n" % os.getpid())
    os.close(descriptor)
    os.execv(command[0], command)  # noqa: S606 - the caller's own command line, no shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
