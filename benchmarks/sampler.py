"""Sample CPU time by thread and layer, weighted by each thread's own CPU clock.

A timer of CPU time (``ITIMER_PROF``) wakes a thread. Each thread is then charged with the CPU time since the last
sample, under the innermost frame of its stack that a layer owns; a thread that ends is charged once more. So the sum
of each thread is exact, and only the division of its time into layers is a sample.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from unittest import mock

Owner = Callable[[str], str | None]
"""Returns the layer that owns a source file; with None the caller's frame decides."""

_SAMPLE_INTERVAL_S = 0.004
"""The shortest interval of a kernel's timers, at 250 ticks a second."""

_NAME = "sampler"

_SWITCH_S = 0.000_05
"""The interpreter's switch interval while sampling. In the usual 5 ms a thread would mostly have released the GIL
itself, and all its time would be charged to the calls that release it: sockets and files."""


class Sampler:
    """Charges processor time to (thread, layer) while ``running``.

    Args:
        owner: Maps source files to layers.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._clocks: dict[int, float] = {}
        self._lock = threading.Lock()
        self.spent_s: defaultdict[tuple[str, str], float] = defaultdict(float)
        """CPU time by the thread's name without its number, and layer; the sampler itself is included."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample while the block runs, which must be in the main thread."""
        # A signal handler runs only in the main thread, when that thread runs next. So a thread reads the wakeup file
        # descriptor, which gets a byte for a signal to any thread.
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        handler = signal.signal(signal.SIGPROF, lambda *_: None)
        wakeup = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        thread = threading.Thread(target=self._sample_on_signal, args=(read_fd,), name=_NAME)
        self._sample()
        self.spent_s.clear()
        thread.start()
        signal.setitimer(signal.ITIMER_PROF, _SAMPLE_INTERVAL_S, _SAMPLE_INTERVAL_S)
        try:
            with mock.patch.object(threading.Thread, "run", self._charged_at_the_end(threading.Thread.run)):
                yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            sys.setswitchinterval(switch_s)
            signal.set_wakeup_fd(wakeup)
            signal.signal(signal.SIGPROF, handler)
            os.close(write_fd)
            thread.join()

    def _sample_on_signal(self, read_fd: int) -> None:
        with open(read_fd, "rb", buffering=0) as signals:
            while signals.read(64):
                self._sample()

    def _charged_at_the_end(self, run: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
        def run_and_charge(thread: threading.Thread) -> None:
            try:
                run(thread)
            finally:
                if thread.name != _NAME:
                    self._charge(thread, None)  # its clock ends with it, perhaps before any sample was taken

        return run_and_charge

    def _sample(self) -> None:
        frames = sys._current_frames()  # the documented way to see other threads' stacks
        for thread in threading.enumerate():
            if thread.ident is not None:
                self._charge(thread, frames.get(thread.ident))

    def _charge(self, thread: threading.Thread, frame: FrameType | None) -> None:
        number = thread.native_id  # an ``ident`` is an address, which another thread may get later
        with self._lock:
            clock_s = None if number is None else _clock_s(number)
            if number is None or clock_s is None:
                return
            spent_s = clock_s - self._clocks.get(number, 0.0)
            self._clocks[number] = clock_s
            self.spent_s[_kind_of(thread), self._layer(frame)] += spent_s

    def _layer(self, frame: FrameType | None) -> str:
        while frame is not None:
            layer = self._owner(frame.f_code.co_filename)
            if layer is not None:
                return layer
            frame = frame.f_back
        return "other"


def _clock_s(native_id: int) -> float | None:
    """Return a thread's CPU time (``MAKE_THREAD_CPUCLOCK`` of Linux's ``posix-timers.h``); None if it has just ended.

    ``pthread_getcpuclockid`` reads the id from the thread's memory, and crashes the process for a thread that has
    ended. Here the kernel refuses an id without a thread.
    """
    try:
        return time.clock_gettime(~native_id << 3 | 0b110)  # CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED
    except OSError:
        return None


def _kind_of(thread: threading.Thread) -> str:
    if thread is threading.main_thread():
        return "main"
    name = re.sub(r"[-_]\d+$", "", thread.name)
    return "asyncio.to_thread" if name == "asyncio" else name
