"""The progress of a call: on a terminal as the command line shows it, in a notebook as one line that changes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Any

from tts_pipeline.frames.polars_calls import called_by_polars
from tts_pipeline.job import Progress
from tts_pipeline.watch import LOOKS_PER_S, Watch, lines, live


@contextmanager
def shown(progress: Progress, wanted: bool | None) -> Iterator[None]:
    """Show progress while the block runs.

    Args:
        progress: What to look at.
        wanted: None shows it on a terminal and in a notebook; True elsewhere, too, as lines on standard error.
    """
    from rich.errors import LiveError

    with ExitStack() as display:
        with suppress(LiveError):  # rich before 14.1 has one display at a time, and it may be the caller's
            display.enter_context(_display(Watch(progress), wanted))
        yield


def _display(watch: Watch, wanted: bool | None) -> AbstractContextManager[None]:
    if wanted is False or (wanted is None and called_by_polars()):
        return nullcontext()
    update = _notebook_line()
    if update is not None:
        return lines(watch, update, wait=lambda ended: ended.wait(1 / LOOKS_PER_S))
    if sys.stderr.isatty():
        from rich.console import Console

        return live(watch, Console(stderr=True))
    return lines(watch, _tell) if wanted else nullcontext()


def _notebook_line() -> Callable[[str], None] | None:
    """Return what changes a line below a notebook's cell; None where there is no notebook.

    Rich would need ipywidgets for it.
    """
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    if not hasattr(shell, "kernel"):
        return None
    line = import_module("IPython.display").display({"text/plain": ""}, raw=True, display_id=True)
    return lambda text: line.update({"text/plain": text}, raw=True)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
