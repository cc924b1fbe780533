"""Parse the commands of the ledger: ``ledger add``, ``compact`` and ``status``."""

from __future__ import annotations

import argparse
from typing import Any

_ADD_EPILOG = """\
Runs put their usage into the ledger themselves. Add datasets of earlier versions, of machines that could not reach
the ledger, or of runs that were killed: their usage counts once, however often they are added."""

_COMPACT_EPILOG = """\
The many small usage files of a month become a few sorted ones, which reports read quickly, and the month is frozen:
what comes later is shown as a correction of it. The month must be over. Freeze all months in one time zone. Repeat
the command after a crash."""

_STATUS_EPILOG = """\
A run that is open is running, or was killed: its last usage is in the ledger when its job runs again. missing counts
usage files of a dataset that the ledger does not have yet: 'tts-pipeline ledger add DATASET' copies them."""


def add_ledger_commands(subparsers: Any) -> dict[str, argparse.ArgumentParser]:
    """Add ``ledger`` to the parser's commands; return the parsers of its commands by name."""
    brief = "keep the usage of all runs in one place: add datasets, freeze months, look"
    group = subparsers.add_parser("ledger", help=brief, description=brief)
    group_commands = group.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands: dict[str, argparse.ArgumentParser] = {}
    for name, help_, epilog in (
        ("add", "copy the usage of datasets that the ledger lacks", _ADD_EPILOG),
        ("compact", "freeze a month", _COMPACT_EPILOG),
        ("status", "show what is in the ledger, what is open and what is missing", _STATUS_EPILOG),
    ):
        command = f"ledger {name}"
        commands[command] = group_commands.add_parser(name, help=help_, description=help_, epilog=epilog)
        commands[command].set_defaults(command=command)
    commands["ledger add"].add_argument("datasets", metavar="DATASET", nargs="+", help="a folder or a URL")
    compact = commands["ledger compact"]
    compact.add_argument("--month", metavar="MONTH", required=True, help="the month, such as 2026-11")
    compact.add_argument(
        "--timezone",
        metavar="ZONE",
        default="UTC",
        help="of the month: an IANA name, such as Asia/Shanghai (default: %(default)s)",
    )
    for parser in commands.values():
        add_ledger_flag(parser)
        parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return commands


def add_ledger_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--ledger`` to a command."""
    parser.add_argument(
        "--ledger",
        metavar="DIR|URL",
        help="the ledger (default: TTS_LEDGER, else a folder in the user's state directory)",
    )
