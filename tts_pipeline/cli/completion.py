"""Run the command ``completion``: print a script that completes commands, flags and values in a shell."""

from __future__ import annotations

import argparse
import re

import shtab

from tts_pipeline.cli.parser import make_parser
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_result

_PATHS = {"DATASET|DIR|URL", "DATASET", "DEST", "DESTINATION", "DIR", "FILE", "FILE.toml", "JOB.toml", "SOURCE"}
"""Placeholders of values that may be local files or folders."""

_WORDS = re.compile(r"[a-z]+(\|[a-z]+)+")


def print_completion(arguments: argparse.Namespace) -> int:
    """Print the script for one shell. Return the exit status."""
    parser, commands = make_parser()
    for command in commands.values():
        for action in command._actions:  # argparse has no other list of them
            _complete_value(action, str(action.metavar))
    print_result(shtab.complete(parser, arguments.shell))
    return OK


def _complete_value(action: argparse.Action, metavar: str) -> None:
    if metavar in _PATHS:
        action.complete = shtab.FILE  # type: ignore[attr-defined] # shtab reads it from there
    elif action.choices is None and _WORDS.fullmatch(metavar):
        action.choices = metavar.split("|")
