"""Threads for work that may hang, such as a store far away: they do not keep the process alive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


class DaemonExecutor(Executor):
    """Runs calls in daemon threads. Those of ``ThreadPoolExecutor`` are waited for when the interpreter ends.

    Args:
        threads: How many, at most.
        name: For their names.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._most = threads
        self._name = name
        self._started = 0

    def submit(self, call: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Result]:
        """Queue a call; see ``Executor.submit``."""
        future: Future[Result] = Future()
        self._calls.put(lambda: _run(future, lambda: call(*args, **kwargs)))
        if self._started < self._most:
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
            self._started += 1
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Let the threads end when what is queued is done; never waits."""
        for _ in range(self._started):
            self._calls.put(None)
        self._started = 0

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
