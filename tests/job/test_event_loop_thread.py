"""One event loop serves all calls of a process; a hanging run, a fork and the end of the process leave it in order."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import pytest

from tests.machine import patience
from tts_pipeline.job import CancelToken
from tts_pipeline.job.event_loop_thread import shared_event_loop_thread
from tts_pipeline.job.stop import run_stoppable

ROOT = Path(__file__).parents[2]
_label: ContextVar[str] = ContextVar("label")


async def _thread_and_label() -> tuple[int, str]:
    await asyncio.sleep(0)
    return threading.get_ident(), _label.get("none")


def _run(label: str) -> tuple[int, str]:
    _label.set(label)
    return run_stoppable(_thread_and_label(), CancelToken(), shared_event_loop_thread())


def test_runs_of_many_threads_share_one_loop() -> None:
    """Each with the context of its own caller."""
    labels = [str(number) for number in range(40)]
    with ThreadPoolExecutor(8) as callers:
        seen = list(callers.map(_run, labels))
    assert [label for _, label in seen] == labels
    assert len({thread for thread, _ in seen}) == 1


def test_a_run_leaves_no_tasks_behind() -> None:
    """Its own are cancelled at its end, also when it fails; those of another run go on."""
    left_behind: list[asyncio.Task[None]] = []

    async def forgetful() -> None:
        left_behind.append(asyncio.create_task(asyncio.sleep(patience(600))))
        await asyncio.sleep(0)
        raise ValueError("a mistake")

    async def steady(go_on: threading.Event) -> str:
        waiting = asyncio.create_task(asyncio.to_thread(go_on.wait, patience(60)))
        return "done" if await waiting else "given up"

    go_on = threading.Event()
    other = shared_event_loop_thread().submit(steady(go_on))
    with pytest.raises(ValueError, match="a mistake"):
        run_stoppable(forgetful(), CancelToken(), shared_event_loop_thread())
    assert left_behind[0].cancelled()
    go_on.set()
    assert other.result(patience(60)) == "done"


def test_an_exit_within_a_run_reaches_its_caller_alone() -> None:
    """The loop goes on for other runs."""

    async def leave() -> None:
        await asyncio.sleep(0)
        raise SystemExit(3)

    loop_thread = shared_event_loop_thread()
    with pytest.raises(SystemExit):
        run_stoppable(leave(), CancelToken(), loop_thread)
    assert run_stoppable(_thread_and_label(), CancelToken(), loop_thread)


_HANG = """
import asyncio, os, signal, threading
from tts_pipeline.job import CancelToken
from tts_pipeline.job.event_loop_thread import shared_event_loop_thread
from tts_pipeline.job.stop import run_stoppable

hanging, begun, stop = shared_event_loop_thread(), threading.Event(), CancelToken()

async def hang():
    begun.set()
    threading.Event().wait()

async def number():
    return 5

def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGINT)
    while not stop.is_set:
        os.sched_yield()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    run_stoppable(hang(), stop, hanging)
except KeyboardInterrupt:
    assert shared_event_loop_thread() is not hanging
    print(run_stoppable(number(), CancelToken(), shared_event_loop_thread()))
"""


def test_a_loop_that_hangs_is_not_used_again() -> None:
    """A second Ctrl-C frees its caller, the next run has a loop of its own, and the process ends."""
    assert _output_of(_HANG) == "5\n"


_FORK = """
import asyncio, os
from tts_pipeline.job import CancelToken
from tts_pipeline.job.event_loop_thread import shared_event_loop_thread
from tts_pipeline.job.stop import run_stoppable

async def number():
    await asyncio.sleep(0)
    return 5

def run():
    return run_stoppable(number(), CancelToken(), shared_event_loop_thread())

assert run() == 5
parents = shared_event_loop_thread()
child = os.fork()
if child == 0:
    assert run() == 5 and shared_event_loop_thread() is not parents
    raise SystemExit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert run() == 5 and shared_event_loop_thread() is parents
"""


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    """Its parent's goes on; both processes end by themselves, without a warning."""
    assert not _output_of(_FORK)


def _output_of(script: str) -> str:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(60), check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout
