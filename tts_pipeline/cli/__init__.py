"""Run the commands of the command line; each imports its modules only when it runs, so that ``--help`` is instant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module

from tts_pipeline.cli.parser import Namespace, parse_arguments
from tts_pipeline.cli.status import CONFIGURATION, INTERRUPTED, OK, status_of
from tts_pipeline.cli.terminal import print_error, print_status, redirect_to_null
from tts_pipeline.errors import TtsPipelineError
from tts_pipeline.job.gc_tuning import gc_tuned


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error of this package is one line on standard error, a bug is a traceback.

    Args:
        argv: The arguments without the program's name; None is those of the process.

    Returns:
        The exit status; ``tts-pipeline run --help`` lists them.
    """
    try:
        status = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except TtsPipelineError as error:
        print_error(error)
        return status_of(error)
    except KeyboardInterrupt:
        print_status("tts-pipeline: interrupted (run it again to continue)")
        return INTERRUPTED
    except BrokenPipeError:  # the reader closed the pipe, as in "models | head": not a failure
        redirect_to_null(sys.stdout)
        return OK
    return status


def _dispatch(argv: Sequence[str]) -> int:
    try:
        arguments = parse_arguments(argv)
    except SystemExit as exit_request:  # --help, --version
        with suppress(ValueError):
            sys.stdout.flush()
        return CONFIGURATION if exit_request.code else OK
    if arguments.command in _SERVERS:
        return _run_command(arguments)
    from tts_pipeline.cli.interrupts import exit_on_second_interrupt

    with exit_on_second_interrupt():
        return _run_command(arguments)


_SERVERS = {"browse", "emulate"}
"""Commands whose event loop, in the main thread, handles the signals."""

_COMMANDS = {
    "run": ("run", "run"),
    "validate": ("run", "validate"),
    "estimate": ("estimate", "show_estimate"),
    "demo": ("demo", "demo"),
    "report": ("report", "show_report"),
    "browse": ("browse", "browse"),
    "export": ("export", "show_export"),
    "emulate": ("local_service", "emulate"),
    "completion": ("completion", "print_completion"),
    "account status": ("account", "show_status"),
    "account forget": ("account", "forget_worker"),
    "budget set": ("budget", "set_budget"),
    "budget list": ("budget", "list_budgets"),
    "budget remove": ("budget", "remove_budget"),
    "ledger add": ("ledger", "add_datasets"),
    "ledger compact": ("ledger", "compact"),
    "ledger status": ("ledger", "show_status"),
    "reconcile": ("reconcile", "show_reconciliation"),
    "services": ("listing", "list_services"),
    "models": ("listing", "list_models"),
}
"""The module and the function of each command."""


def _run_command(arguments: Namespace) -> int:
    module, function = _COMMANDS[arguments.command]
    with gc_tuned():  # imports make many objects and no garbage: looking for it takes 8 % of their time
        command: Callable[[Namespace], int] = getattr(import_module(f"tts_pipeline.cli.{module}"), function)
    return command(arguments)
