"""Stop a running job from another thread, a signal handler, or an interrupted caller."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import copy_context
from types import FrameType
from typing import Any, TypeVar

from tts_pipeline.errors import StoppedError
from tts_pipeline.storage.daemon_threads import POLL_S, DaemonExecutor, in_daemon_threads

Result = TypeVar("Result")

Listener = Callable[[StoppedError], object]


class CancelToken:
    """Stops the job that it was given to, in good order: ``run_parts(job, shard, stop=stop)``, then ``stop.set()``.

    Nothing new is sent, answers already paid for are waited for (``Limits.stop_grace_s``), usage is published, and the
    report says ``stopped_by`` ``interrupted``. Set before the job begins, nothing is sent at all. It stays set.
    """

    def __init__(self) -> None:
        self._reason: StoppedError | None = None
        self._listeners: list[Listener] = []

    @property
    def is_set(self) -> bool:
        """Whether the job was told to stop."""
        return self._reason is not None

    def set(self, by: str = "its caller") -> None:
        """Tell the job to stop; ``by`` is for the message. From any thread and signal handler: it takes no locks."""
        if self._reason is None:
            hint = "run again to go on"
            self._reason = StoppedError(f"interrupted by {by}", stopped_by="interrupted", hint=hint)
        for listener in tuple(self._listeners):
            listener(self._reason)

    @contextmanager
    def subscribe(self, listener: Listener) -> Iterator[None]:
        """Have the reason told to a listener, once or more often; at once where it is set already."""
        self._listeners.append(listener)
        try:
            if self._reason is not None:
                listener(self._reason)
            yield
        finally:
            self._listeners.remove(listener)


def run_stoppable(main: Coroutine[Any, Any, Result], stop: CancelToken) -> Result:
    """Run an event loop in a thread of its own, and wait for its end here.

    What a signal handler raises in this thread (Ctrl-C in a notebook, a time limit of Airflow's) would be swallowed by
    whichever task of the loop ran at that moment. Raised while this thread waits, it sets ``stop``, and is raised again
    when the run has ended in good order; where ``stop`` is set already, at once. SIGINT and SIGTERM set it without
    raising, the first time; where this is not the main thread they are left alone.

    Nothing that the run has begun in other threads is waited for when this raises at once: all of them are daemons.
    """
    thread = DaemonExecutor(1, "event-loop")
    with _stop_on_signals(stop) as second_signals:
        future = thread.submit(copy_context().run, asyncio.run, in_daemon_threads(main))
        try:
            _wait_for(future, second_signals)
        except BaseException as interruption:
            if stop.is_set:
                raise
            stop.set(type(interruption).__name__)
            _wait_for(future, second_signals)
            raise
        finally:
            thread.shutdown(wait=future.done())
    return future.result()


def _wait_for(future: Future[Any], second_signals: Collection[int]) -> None:
    """Wait, and look now and then: a signal that came to another thread is handled in this one, once it runs."""
    while not future.done():
        if second_signals:
            raise KeyboardInterrupt
        wait([future], POLL_S)


@contextmanager
def _stop_on_signals(stop: CancelToken) -> Iterator[Collection[int]]:
    """Let the first SIGINT or SIGTERM stop in good order; gives those that come when ``stop`` is set already.

    A second SIGTERM acts as it would without us. A second SIGINT ends the run, whoever handled it before: asyncio's
    handler would but cancel the task that waits here, and what a shell runs in the background (``&``) ignores Ctrl-C
    from its start. It does not raise ``KeyboardInterrupt`` anywhere, for what is locked at that moment would stay so.
    """
    second_signals: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield second_signals
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        is_second, handler = stop.is_set and number in persistent, previous[number]
        for other in previous.keys() - persistent:
            signal.signal(other, previous[other])
        stop.set(signal.Signals(number).name)
        if is_second:
            second_signals.append(number)
            if callable(handler) and handler is not signal.default_int_handler:
                handler(number, frame)

    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # None: another language's
    previous = {number: handler for number, handler in handlers.items() if handler is not None}
    ignored = {number for number, handler in previous.items() if handler is signal.SIG_IGN}
    persistent = ignored | ({signal.SIGINT} if previous.get(signal.SIGINT) is not signal.SIG_DFL else set())
    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield second_signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
