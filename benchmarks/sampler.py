"""Where processor time goes: looked at whenever some was used, and weighed by each thread's own clock.

A timer of processor time (``ITIMER_PROF``) wakes a thread. Each thread is then charged what its clock went on by since
the last look, under the innermost frame of its stack that a layer owns. So the sum is what was used, and only how a
thread's time divides into layers is a sample.
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

Owner = Callable[[str], str | None]
"""Tells the layer that owns a source file; None leaves it to the frame that called."""

_SAMPLE_INTERVAL_S = 0.004
"""What a kernel's timers can hold, at 250 ticks a second."""

_SWITCH_S = 0.000_05
"""A thread is asked to let the looker run after so long. By the usual 5 ms it would mostly have done so by itself, and
all its time would be charged to the calls that let others run: sockets and files."""


class Sampler:
    """Charges processor time to (thread, layer) while ``running``.

    Args:
        owner: Tells layers.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._clocks: dict[int, float] = {}
        self.spent_s: defaultdict[tuple[str, str], float] = defaultdict(float)
        """By thread's name without its number, and layer; the sampler itself is among them."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look while the block runs, which must be in the main thread."""
        # A handler would run in the main thread only, whenever that next does: a thread waits for the byte that tells
        # of a signal, whichever thread it came to.
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        handler = signal.signal(signal.SIGPROF, lambda *_: None)
        wakeup = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        thread = threading.Thread(target=self._sample_on_signal, args=(read_fd,), name="sampler")
        self._sample()
        self.spent_s.clear()
        thread.start()
        signal.setitimer(signal.ITIMER_PROF, _SAMPLE_INTERVAL_S, _SAMPLE_INTERVAL_S)
        try:
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

    def _sample(self) -> None:
        frames = sys._current_frames()  # the documented way to see other threads' stacks
        for thread in threading.enumerate():
            number = thread.native_id  # an ``ident`` is an address, soon another thread's
            if thread.ident is None or number is None:
                continue
            try:
                clock_s = time.clock_gettime(_clock_of(number))
            except OSError:  # it has just ended
                continue
            spent_s = clock_s - self._clocks.get(number, 0.0)
            self._clocks[number] = clock_s
            self.spent_s[_kind_of(thread), self._layer(frames.get(thread.ident))] += spent_s

    def _layer(self, frame: FrameType | None) -> str:
        while frame is not None:
            layer = self._owner(frame.f_code.co_filename)
            if layer is not None:
                return layer
            frame = frame.f_back
        return "other"


def _clock_of(native_id: int) -> int:
    """The clock of a thread's processor time (``MAKE_THREAD_CPUCLOCK`` of Linux's ``posix-timers.h``).

    ``pthread_getcpuclockid`` reads the number out of the thread's memory. A thread that has just ended has none, and
    the process crashes; the kernel refuses a number that is no thread's.
    """
    return ~native_id << 3 | 0b110  # CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED


def _kind_of(thread: threading.Thread) -> str:
    if thread is threading.main_thread():
        return "main"
    name = re.sub(r"[-_]\d+$", "", thread.name)
    return "asyncio.to_thread" if name == "asyncio" else name
