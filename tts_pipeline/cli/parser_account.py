"""Parse the commands of the account store: ``account status`` and ``forget``; ``budget set``, ``list``, ``remove``."""

from __future__ import annotations

import argparse
import re
from typing import Any

from tts_pipeline.options import BY_NAME
from tts_pipeline.periods import PERIOD_KINDS

_SET_EPILOG = """\
A budget counts every attempt that matches all of --where, --service and --model, of every job on every account of
the account store; without these, every attempt. Each attempt is reserved in all budgets that match before it is
sent, so that no budget is ever passed. AMOUNT is money, as 2000CNY, or characters, as '2000000 characters'.

--per run is one run of a job, or one Airflow run with all its tasks. A day and a month begin at midnight in
--timezone.

Repeat the command to change the amount or the condition: what was spent stays counted. To change the period, the
time zone or the unit, first remove the budget."""

_STATUS_EPILOG = """\
A dead worker is one whose lease is over: its process was killed, or its machine is gone. What it was granted counts
as possibly spent until its job runs again and reads its journals."""

_FORGET_EPILOG = """\
WORKER is the id that 'tts-pipeline account status' shows. All that the worker was granted counts as spent, for good.
A living worker is not forgotten."""


def add_account_commands(subparsers: Any) -> dict[str, argparse.ArgumentParser]:
    """Add ``account`` and ``budget`` to the parser's commands; return the parsers of their commands by name."""
    commands: dict[str, argparse.ArgumentParser] = {}
    for group, brief, names in (
        (
            "account",
            "show what processes share: rates, pauses, workers and budgets",
            {
                "status": ("show rates, pauses, workers and budgets", _STATUS_EPILOG),
                "forget": ("count all that a dead worker was granted as spent", _FORGET_EPILOG),
            },
        ),
        (
            "budget",
            "limit what all jobs together spend, per run, day or month, or ever",
            {
                "set": ("add a budget, or change one", _SET_EPILOG),
                "list": ("show all budgets, and what is left of them", None),
                "remove": ("remove a budget", None),
            },
        ),
    ):
        group_parser = subparsers.add_parser(group, help=brief, description=brief)
        group_commands = group_parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
        for name, (help_, epilog) in names.items():
            command = f"{group} {name}"
            commands[command] = group_commands.add_parser(name, help=help_, description=help_, epilog=epilog)
            commands[command].set_defaults(command=command)
    _add_arguments(commands)
    return commands


def _add_arguments(commands: dict[str, argparse.ArgumentParser]) -> None:
    commands["account forget"].add_argument("worker", metavar="WORKER", help="the worker's id")
    for name in ("budget set", "budget remove"):
        commands[name].add_argument("name", metavar="NAME", help="the budget's name")
    _add_terms(commands["budget set"])
    for command in commands.values():
        store = BY_NAME["account_store"]
        command.add_argument(store.flag, metavar="URL|FILE", help=store.help.partition(";")[0])
    for name in ("account status", "budget list"):
        commands[name].add_argument("--json", action="store_true", help="print everything as one JSON object")


def _add_terms(parser: argparse.ArgumentParser) -> None:
    parser._negative_number_matcher = re.compile(r"-[0-9.]")  # -5CNY is a wrong AMOUNT, not an unknown flag
    parser.add_argument(
        "amount", metavar="AMOUNT", nargs="+", help="the most to spend in a period: 2000CNY, 2000000 characters"
    )
    parser.add_argument("--per", metavar="|".join(PERIOD_KINDS), choices=PERIOD_KINDS, required=True, help="the period")
    parser.add_argument("--timezone", metavar="ZONE", help="of a day or a month: an IANA name, such as Asia/Shanghai")
    parser.add_argument(
        "--where", metavar="KEY=VALUE", action="append", default=[], help="only requests with this tag; repeatable"
    )
    parser.add_argument("--service", metavar="NAME|URL", help="only requests to this service")
    parser.add_argument("--model", metavar="MODEL", help="only requests to this model")
