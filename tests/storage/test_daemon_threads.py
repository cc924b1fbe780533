from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from tests.machine import patience
from tts_pipeline.storage.daemon_threads import DaemonExecutor


def test_calls_run_in_its_threads_and_give_back_what_they_return_or_raise() -> None:
    """It works as any executor, also from an event loop."""
    threads = DaemonExecutor(2, "own")

    async def main() -> str:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(threads, lambda: 1 // 0)
        return await loop.run_in_executor(threads, lambda: threading.current_thread().name)

    assert asyncio.run(main()).startswith("own-")
    threads.shutdown()


def test_what_is_queued_is_done_before_the_threads_end() -> None:
    """A shutdown waits for nothing and loses nothing; cancelled calls are not started."""
    threads, gate, done = DaemonExecutor(1, "own"), threading.Event(), list[int]()
    first = threads.submit(gate.wait)
    second, third = (threads.submit(done.append, number) for number in (2, 3))
    second.cancel()
    threads.shutdown()
    gate.set()
    third.result(timeout=patience(5))
    assert (first.result(), done) == (True, [3])


_HANGS = """
import asyncio, sys, time
from tts_pipeline.storage.daemon_threads import DaemonExecutor
threads = DaemonExecutor(1, "own")
async def main():
    call = asyncio.get_running_loop().run_in_executor(threads, time.sleep, 600)
    await asyncio.wait([call], timeout=0.05)
    call.cancel()
asyncio.run(main())
threads.shutdown()
print("over")
"""


def test_a_call_that_hangs_does_not_keep_the_process_alive() -> None:
    """A store that never answers does not delay an orderly stop."""
    began = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=patience(60), check=True
    )
    assert (process.stdout, process.stderr) == ("over\n", "")
    assert time.monotonic() - began < patience(30)
