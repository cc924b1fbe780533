"""The command line. Importing it costs nothing: what a command needs is imported when that command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

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
    return _command(given)


def _command(given: Namespace) -> int:
    if given.command in {"run", "validate"}:
        from tts_pipeline.cli.jobs import run, validate
        from tts_pipeline.cli.settings import settings_from

        return (run if given.command == "run" else validate)(settings_from(given))
    if given.command == "estimate":
        from tts_pipeline.cli.estimate import show_estimate
        from tts_pipeline.cli.settings import settings_from

        return show_estimate(settings_from(given))
    if given.command == "demo":
        from tts_pipeline.cli.demo import demo

        return demo(given.destination, quiet=given.quiet)
    if given.command == "emulate":
        from tts_pipeline.cli.local import emulate

        return emulate(given)
    from tts_pipeline.cli.listing import list_models, list_services

    return list_services(given) if given.command == "services" else list_models(given)
