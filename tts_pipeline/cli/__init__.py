"""The command line. Importing it costs nothing: what a command needs is imported when that command runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module

from tts_pipeline.cli.parser import Namespace, read_arguments
from tts_pipeline.cli.status import CONFIGURATION, INTERRUPTED, OK, status_of
from tts_pipeline.cli.terminal import complain, silence, tell
from tts_pipeline.errors import TtsPipelineError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors of ours are one line on standard error, a bug is a traceback.

    Args:
        argv: The command line without the program's name; None is the process's own.

    Returns:
        The exit status; ``tts-pipeline run --help`` lists them.
    """
    try:
        status = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except TtsPipelineError as error:
        complain(error)
        return status_of(error)
    except KeyboardInterrupt:
        tell("tts-pipeline: interrupted (run it again to go on)")
        return INTERRUPTED
    except BrokenPipeError:  # the reader had enough, as in "models | head": no failure of ours
        silence(sys.stdout)
        return OK
    return status


def _dispatch(argv: Sequence[str]) -> int:
    try:
        given = read_arguments(argv)
    except SystemExit as ended:  # --help
        with suppress(ValueError):
            sys.stdout.flush()
        return CONFIGURATION if ended.code else OK
    if given.command in _SERVERS:
        return _command(given)
    from tts_pipeline.cli.interrupts import ended_by_a_second_one

    with ended_by_a_second_one():
        return _command(given)


_SERVERS = {"browse", "emulate"}
"""Commands whose event loop, in the main thread, has the signals."""


_DOORS = {
    "report": ("report", "show_report"),
    "browse": ("browse", "browse"),
    "export": ("export", "show_export"),
    "emulate": ("local", "emulate"),
    "services": ("listing", "list_services"),
    "models": ("listing", "list_models"),
}
"""Where a command is that takes its flags as they are: module and function."""


def _command(given: Namespace) -> int:
    if given.command in {"run", "validate"}:
        from tts_pipeline.cli.jobs import run, validate
        from tts_pipeline.cli.settings import settings_from

        return (run if given.command == "run" else validate)(settings_from(given))
    if given.command == "estimate":
        from tts_pipeline.cli.estimate import show_estimate
        from tts_pipeline.cli.settings import settings_from

        return show_estimate(settings_from(given), given.latency_s)
    if given.command == "demo":
        from tts_pipeline.cli.demo import demo

        return demo(given.destination, quiet=given.quiet)
    module, function = _DOORS[given.command]
    door: Callable[[Namespace], int] = getattr(import_module(f"tts_pipeline.cli.{module}"), function)
    return door(given)
