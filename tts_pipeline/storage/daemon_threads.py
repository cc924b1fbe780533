"""Run calls that may hang, such as those of a remote store, in threads that delay neither exit nor interrupts."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")
_Call = tuple[Future[Any], Callable[[], Any]]

TO_THREAD_WORKERS = min(32, (os.cpu_count() or 1) + 4)
"""Threads for ``asyncio.to_thread``, at most: asyncio's own number."""


POLL_S = 0.2
"""Seconds after which a waiting thread wakes. A signal that the system gave to another thread does not wake the main
thread, which has to handle it when it next runs."""


FILE_READERS = 16
"""Files that are read at the same time: on an object store, each takes some round trips."""


class _Future(Future[Result]):
    def result(self, timeout: float | None = None) -> Result:
        """See ``Future.result``; interruptible, whichever thread receives the signal."""
        while timeout is None and not self.done():
            wait([self], POLL_S)
        return super().result(timeout)


class DaemonExecutor(ThreadPoolExecutor):
    """Runs calls in daemon threads; the interpreter waits for those of the base class before it ends.

    ``with`` waits for the calls, as it does for any executor, unless a ``KeyboardInterrupt`` or the like ends it: a
    second interrupt must not wait for a call that hangs.
    """

    def __init__(self, max_threads: int, name: str) -> None:
        super().__init__(max_threads)  # starts no thread before its own ``submit``
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._max_threads = max_threads
        self._name = name
        self._daemons: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._is_shut_down = False

    def submit(self, call: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Future[Result]:
        """Queue a call; see ``Executor.submit``."""
        if self._is_shut_down:
            raise RuntimeError(f"the threads {self._name!r} are shut down")
        future: Future[Result] = _Future()
        self._queue.put((future, partial(call, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and len(self._daemons) < self._max_threads:
            name = f"{self._name}-{len(self._daemons)}"
            self._daemons.append(threading.Thread(target=self._run_calls, name=name, daemon=True))
            self._daemons[-1].start()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """Let the threads end after the queued calls, or cancel these; ``wait`` waits for the end."""
        self._is_shut_down = True
        if cancel_futures:
            self._cancel_queued()
        for _ in self._daemons:
            self._queue.put(None)
        if wait:
            for thread in self._daemons:
                while thread.is_alive():
                    thread.join(POLL_S)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(wait=kind is None or issubclass(kind, Exception | GeneratorExit))

    def _run_calls(self) -> None:
        while True:
            if self._queue.empty():
                self._idle.release()
            call = self._queue.get()
            if call is None:
                return
            _run(*call)

    def _cancel_queued(self) -> None:
        with suppress(queue.Empty):
            while True:
                call = self._queue.get_nowait()
                if call is not None:
                    call[0].cancel()


async def in_daemon_threads(main: Coroutine[Any, Any, Result]) -> Result:
    """Await a coroutine whose ``asyncio.to_thread`` calls and host name look-ups do not keep the process alive."""
    asyncio.get_running_loop().set_default_executor(DaemonExecutor(TO_THREAD_WORKERS, "to-thread"))
    return await main


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
