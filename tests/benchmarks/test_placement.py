"""Where client and service run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.placement import Placement, placed, possible_placements
from benchmarks.service import load_service
from tests.machine import patience

needs_cores = pytest.mark.skipif(len(possible_placements()) == 1, reason="needs two cores and affinities")


def _cores_of_child() -> set[int]:
    code = "import os; print(*os.sched_getaffinity(0))"
    return set(map(int, subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split()))


@needs_cores
@pytest.mark.parametrize("placement", [Placement.PINNED, Placement.SLOW])
def test_client_and_service_have_a_core_each(placement: Placement) -> None:
    """Within the block only; then both may run anywhere again."""
    before = os.sched_getaffinity(0)
    with load_service() as service:
        with placed(placement, service.pid):
            client, served = _cores_of_child(), os.sched_getaffinity(service.pid)
        assert os.sched_getaffinity(service.pid) == before
    assert len(client) == len(served) == 1
    assert client != served
    assert os.sched_getaffinity(0) == before


def test_free_is_as_it_was() -> None:
    """Nobody is bound to a core, and there need be no service."""
    with placed(Placement.FREE, service_pid=0):
        assert _cores_of_child() == os.sched_getaffinity(0)


@needs_cores
def test_a_slow_machine_has_a_process_that_never_waits() -> None:
    """It runs on the client's core as long as the block, and burns processor time."""
    before = _children()  # those of earlier tests in this process
    with load_service() as service, placed(Placement.SLOW, service.pid):
        (spinner,) = _children() - before - {service.pid}
        assert os.sched_getaffinity(spinner) == os.sched_getaffinity(0)
        until_s = time.monotonic() + patience(30)
        while (burnt_s := _cpu_s(spinner)) < 0.1 and time.monotonic() < until_s:
            time.sleep(0.01)
        assert burnt_s >= 0.1
    assert spinner not in _children()


def _children() -> set[int]:
    by_thread = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return {int(pid) for pids in by_thread for pid in pids}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
