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

from tts_pipeline.deprecation import renamed_attributes
from tts_pipeline.errors import StoppedError
from tts_pipeline.job.event_loop_thread import EventLoopThread, abandon_event_loop_thread
from tts_pipeline.storage.daemon_threads import POLL_S, DaemonExecutor, in_daemon_threads

Result = TypeVar("Result")

Listener = Callable[[StoppedError], object]


@renamed_attributes(heard_by="subscribe")
class CancelToken:
    """Stops a job in good order: ``run_parts(job, shard, stop=stop)``, then ``stop.set()``.

    The job sends nothing new, waits for answers that are already paid for (``Limits.stop_grace_s``) and publishes its
    usage; its report has ``stopped_by`` ``interrupted``. A token that is set before the job begins lets it send nothing
    at all. A token stays set.
    """

    def __init__(self) -> None:
        self._reason: StoppedError | None = None
        self._listeners: list[Listener] = []

    @property
    def is_set(self) -> bool:
        """Whether the job has to stop."""
        return self._reason is not None

    def set(self, by: str = "its caller") -> None:
        """Stop the job; ``by`` is for the message. Call it in any thread or signal handler: it takes no locks."""
        if self._reason is None:
            hint = "run again to go on"
            self._reason = StoppedError(f"interrupted by {by}", stopped_by="interrupted", hint=hint)
        for listener in tuple(self._listeners):
            listener(self._reason)

    @contextmanager
    def subscribe(self, listener: Listener) -> Iterator[None]:
        """Call a listener with the reason, once or more often; immediately if the token is already set."""
        self._listeners.append(listener)
        try:
            if self._reason is not None:
                listener(self._reason)
            yield
        finally:
            self._listeners.remove(listener)


def run_stoppable(
    main: Coroutine[Any, Any, Result], stop: CancelToken, loop_thread: EventLoopThread | None = None
) -> Result:
    """Run a coroutine in the event loop of another thread, and wait here for its end; None is a loop of its own.

    If the loop ran in this thread, the task that happens to run would swallow an exception of a signal handler (Ctrl-C
    in a notebook, a time limit of Airflow). Here, such an exception interrupts the wait, sets ``stop``, and is raised
    again after the run has ended in good order; if ``stop`` was already set, it is raised immediately. The first SIGINT
    or SIGTERM sets ``stop`` without an exception; outside the main thread, signals are left alone.

    An immediate exception does not wait for other threads of the run: they are all daemons.
    """
    thread = DaemonExecutor(1, "event-loop")  # starts none before its first call
    with _stop_on_signals(stop) as second_signals:
        future = (
            thread.submit(copy_context().run, asyncio.run, in_daemon_threads(main))
            if loop_thread is None
            else loop_thread.submit(main)
        )
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
            if loop_thread is not None and not future.done():
                abandon_event_loop_thread(loop_thread)
    return future.result()


def _wait_for(future: Future[Any], second_signals: Collection[int]) -> None:
    """Wait for the future, and wake up regularly: Python handles signals only while this thread runs."""
    while not future.done():
        if second_signals:
            raise KeyboardInterrupt
        wait([future], POLL_S)


@contextmanager
def _stop_on_signals(stop: CancelToken) -> Iterator[Collection[int]]:
    """Let the first SIGINT or SIGTERM stop the run in good order; yield the signals that come once ``stop`` is set.

    A second SIGTERM acts as it would without this package. A second SIGINT ends the run, whatever its handler was:
    asyncio's handler would only cancel the task that waits here, and a shell starts background jobs (``&``) with Ctrl-C
    ignored. The handler never raises ``KeyboardInterrupt`` itself: locks held at that moment would stay locked.
    """
    signals: list[int] = []
    second_signals: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield second_signals
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.append(number)  # first of all: the next signal may interrupt this handler anywhere
        is_second, handler = (stop.is_set or len(signals) > 1) and number in persistent, previous[number]
        stop.set(signal.Signals(number).name)
        for other in previous.keys() - persistent:
            signal.signal(other, previous[other])
        if is_second:
            second_signals.append(number)
            if callable(handler) and handler is not signal.default_int_handler:
                handler(number, frame)

    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # None: a handler that was not installed from Python, which cannot be restored
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
