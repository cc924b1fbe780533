"""Runs a command until standard input closes, then kills it with everything that it has started.

``python -m tests.airflow.guarded COMMAND...``. A pipe closes however the process at its other end dies, by SIGKILL too.
Airflow's tasks are in process groups of their own, so groups are not enough: descendants are followed, and orphans
among them become children of this process. Linux.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_LOOK_S = 0.5


def main(command: list[str]) -> int:
    """Run the command; returns its exit status, or 0 when it was killed because the input closed."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            if select.select([sys.stdin], [], [], _LOOK_S)[0]:
                return 0
        return process.returncode
    finally:
        _kill_descendants()


def _kill_descendants() -> None:
    while pids := descendants(os.getpid()):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def descendants(pid: int) -> list[int]:
    """Return the processes below a process, each before those that it has started."""
    pids: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended meanwhile
            for child in map(int, listed.read_text().split()):
                pids += [child, *descendants(child)]
    return pids


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
