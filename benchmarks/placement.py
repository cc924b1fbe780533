"""Place a contest on the machine's cores: client and service free, on a core each, or the client on half of a core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum


class Placement(StrEnum):
    """Where client and service run, as the tables name it."""

    FREE = "free"
    PINNED = "pinned"
    SLOW = "slow"


NOTES = (
    "Cores: free; pinned is the client on one core and the service on another; slow is the same with a process beside "
    "the client that never waits, so that half of a core is left, as on a machine half as fast."
)

_SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(100_000): pass"
"""Ends with its parent, however that ends."""


def possible_placements() -> tuple[Placement, ...]:
    """Return the placements that this machine allows: only the free one with a single core, or without affinities."""
    has_two_cores = hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1
    return tuple(Placement) if has_two_cores else (Placement.FREE,)


@contextmanager
def placed(placement: Placement, service_pid: int) -> Iterator[None]:
    """Place the service, and the processes that this thread starts within the block."""
    if placement is Placement.FREE:
        yield
        return
    cores = os.sched_getaffinity(0)
    service_core, *_, client_core = sorted(cores)
    os.sched_setaffinity(service_pid, {service_core})
    os.sched_setaffinity(0, {client_core})
    try:
        with _spinner() if placement is Placement.SLOW else nullcontext():
            yield
    finally:
        os.sched_setaffinity(0, cores)
        os.sched_setaffinity(service_pid, cores)


@contextmanager
def _spinner() -> Iterator[None]:
    """Run a process that takes its share of this thread's core; of a session of its own, as clients are.

    Linux divides a core among sessions (autogroup), not among threads: a client of several threads gets no more of it.
    """
    with subprocess.Popen([sys.executable, "-c", _SPIN], start_new_session=True) as process:
        try:
            yield
        finally:
            process.kill()
