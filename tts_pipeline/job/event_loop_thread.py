"""Keep an event loop and its connections for the calls of a process, one after another or side by side."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakSet

from tts_pipeline.storage.daemon_threads import TO_THREAD_WORKERS, DaemonExecutor

CLOSE_S = 1.0
"""Seconds that the end of the process waits until the connections are closed."""

Result = TypeVar("Result")

_tasks_of_run: ContextVar[WeakSet[asyncio.Task[Any]] | None] = ContextVar("tasks_of_run", default=None)


class EventLoopThread:
    """An event loop in a daemon thread, and the transports that are kept in it."""

    def __init__(self) -> None:
        from tts_pipeline.http.transport_cache import TransportCache  # a dataset that is done does without HTTP

        self.transports = TransportCache()
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(_make_task)
        self._loop.set_default_executor(DaemonExecutor(TO_THREAD_WORKERS, "to-thread"))
        threading.Thread(target=self._run_forever, name="call-loop", daemon=True).start()

    def submit(self, main: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine with the caller's context; tasks that it leaves behind are cancelled."""
        return asyncio.run_coroutine_threadsafe(_run_alone(main), self._loop)

    def close(self) -> None:
        """Close the connections, and end the thread."""
        wait([self.submit(self.transports.aclose())], CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run_forever(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit):  # of a task, whose waiter gets it
                continue
            return


async def _run_alone(main: Coroutine[Any, Any, Result]) -> Result:
    tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
    _tasks_of_run.set(tasks)
    try:
        return await main
    finally:
        leftovers = [task for task in tasks if not task.done()]
        for task in leftovers:
            task.cancel()
        await asyncio.gather(*leftovers, return_exceptions=True)


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task, and count it among those of its run."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    tasks = _tasks_of_run.get()
    if tasks is not None:
        tasks.add(task)
    return task


_lock = threading.Lock()
_shared: list[EventLoopThread] = []
_inherited: list[EventLoopThread] = []


def shared_event_loop_thread() -> EventLoopThread:
    """Return the loop of this process; start it if there is none."""
    with _lock:
        if not _shared:
            _shared.append(EventLoopThread())
        return _shared[0]


def abandon_event_loop_thread(loop_thread: EventLoopThread) -> None:
    """Keep a loop no longer, because a run in it may hang; runs in it go on."""
    with _lock:
        if loop_thread in _shared:
            _shared.remove(loop_thread)


def _forget_in_child() -> None:
    """Start anew in a forked process: it has neither the thread nor a right to the connections of its parent."""
    global _lock  # noqa: PLW0603 (another thread may have held it at the fork)
    _lock = threading.Lock()
    _inherited.extend(_shared)  # their destructors would touch what the parent still uses
    _shared.clear()


def _close_at_exit() -> None:
    for loop_thread in _shared:
        loop_thread.close()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_close_at_exit)
