"""Show the progress of a call: the command line's display on a terminal, one changing line in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from importlib import import_module
from typing import Any

from tts_pipeline.frames.polars_calls import called_by_polars
from tts_pipeline.job import Progress
from tts_pipeline.job.progress_view import REFRESHES_PER_S, ProgressView, live_display, report_lines


@contextmanager
def show_progress(progress: Progress, show: bool | None) -> Iterator[None]:
    """Show progress while the block runs.

    With ``show`` None it is shown on a terminal and in a notebook; with True elsewhere too, as lines on standard error.
    """
    from rich.errors import LiveError

    with ExitStack() as display:
        with suppress(LiveError):  # rich before 14.1 allows one display at a time, and the caller may have it
            display.enter_context(_display(ProgressView(progress), show))
        yield


def _display(view: ProgressView, show: bool | None) -> AbstractContextManager[None]:
    if show is False or (show is None and called_by_polars()):
        return nullcontext()
    update = _notebook_line()
    if update is not None:
        return report_lines(view, update, wait=lambda ended: ended.wait(1 / REFRESHES_PER_S))
    if sys.stderr.isatty():
        from rich.console import Console

        return live_display(view, Console(stderr=True))
    return report_lines(view, partial(print, file=sys.stderr, flush=True)) if show else nullcontext()


def _notebook_line() -> Callable[[str], None] | None:
    """Return a function that changes the line below a notebook's cell; None outside a notebook.

    Rich is not used, because it needs ipywidgets for this.
    """
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    if not hasattr(shell, "kernel"):
        return None
    line = import_module("IPython.display").display({"text/plain": ""}, raw=True, display_id=True)
    return lambda text: line.update({"text/plain": text}, raw=True)
