"""Nothing that the tests start outlives them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.airflow.standalone import ROOT
from tests.machine import patience

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="follows processes in /proc")

# A child in a session of its own, as Airflow's tasks have groups of their own, an orphan, and the command itself.
COMMAND = "setsid sleep 1000 & echo $!; (sleep 1000 & echo $!); echo $$; exec sleep 1000"
HOLDER = f"""
import subprocess, sys
guard = [sys.executable, "-m", "tests.airflow.guarded", "bash", "-c", {COMMAND!r}]
subprocess.Popen(guard, stdin=subprocess.PIPE).wait()
"""


def test_all_ends_with_a_process_that_is_killed() -> None:
    """By SIGKILL, which leaves it no time to clean up."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    pids = [int(holder.stdout.readline()) for _ in range(3)]
    assert all(map(_lives, pids))
    holder.kill()
    holder.wait()
    end = time.monotonic() + patience(20)
    while any(map(_lives, pids)):
        assert time.monotonic() < end, pids
        time.sleep(0.05)
    holder.stdout.close()


def test_the_status_of_a_command_that_ends() -> None:
    """Is the guard's."""
    guard = [sys.executable, "-m", "tests.airflow.guarded", "bash", "-c", "exit 7"]
    with subprocess.Popen(guard, cwd=ROOT, stdin=subprocess.PIPE) as process:
        assert process.wait() == 7


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
