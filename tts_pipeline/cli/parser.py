"""Parse the command line: its commands and their flags, with the help texts."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from tts_pipeline.cli.parser_account import add_account_commands
from tts_pipeline.cli.parser_ledger import add_ledger_commands
from tts_pipeline.cli.parser_reconcile import add_reconcile_command
from tts_pipeline.cli.parser_report import REPORT_EPILOG, add_report
from tts_pipeline.cli.status import MEANINGS
from tts_pipeline.config import AudioSettings
from tts_pipeline.emulator.options import add_arguments
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.options import COMMAND_LINE, GROUPS, Option, OptionKind, positive_number

Namespace = argparse.Namespace

EXPORT_FORMATS = ("huggingface", "files", "nemo", "lhotse")
SHELLS = ("bash", "zsh", "fish")

_EXIT_STATUSES = "\n".join(f"  {status:<4} {meaning}" for status, meaning in MEANINGS.items())

_RUN_EPILOG = f"""\
SOURCE is a Parquet file, a folder, a glob or a URL of these. DESTINATION is a folder or a URL. If it holds
the dataset of the same job, the job continues, and no finished row is bought again.

The key comes from the environment: see 'tts-pipeline services'. --service local needs no key; if
TTS_LOCAL_URL is set, the job uses the service that 'tts-pipeline emulate' runs at that URL.

JOB.toml holds the same settings, with underscores: max_concurrency = 32, generate_ids = true,
unchecked = ["voice"]. Settings of the form NAME=VALUE are tables: column = {{ voice = "speaker" }},
set = {{ speed = 1.2 }}. "work_dir", "reuse", "catalog" and "prices" are relative to the folder of the file.
A flag overrides the file.

--reuse DATASET takes audio from a dataset of the same service, model and parameters: for a full job after its
pilot, for the same job in FLAC, or for a second dataset with some of the same lines. --reuse STORE also keeps
all purchases, as received, for every job that names the store. The flag may be given several times. Rows with
reused audio cost nothing, and their "deduplicated_from" names its origin. Rows of one job with the same
request are always bought once.

exit status:
{_EXIT_STATUSES}
Whatever the status, all bought audio is kept."""

_ESTIMATE_EPILOG = """\
Nothing is sent or written, and no key is needed. Requests, characters and the cost by character are exact if
no request is retried. The arguments and JOB.toml are those of 'tts-pipeline run'. With DESTINATION the
estimate is of the rows that are left to buy; without it, of a new dataset.

Hours and time follow from the measurements of DESTINATION and of the datasets of --reuse, such as a pilot.
Without these, hours follow from published paces of each language, right within a third, and the time follows
from the rates alone."""

_BROWSE_EPILOG = """\
The page reads the dataset, changes nothing, and needs no network. Everybody who reaches its address can hear
and read the dataset: the page answers on this machine only, unless --host names another address.

--ledger shows the bill of all jobs and calls in place of a dataset, the current month first."""

_EXPORT_EPILOG = """\
An earlier export of this format at DEST is updated: new and changed files are written, unchanged files stay,
and files that are no longer part of the export are removed.

--as files writes an audio file for each utterance, and index.parquet; nemo and lhotse add their manifests;
huggingface writes Parquet by split and a dataset card. --name may contain columns, {ext} and {split}; names
are safe for any id, and the index lists them. --where is SQL over the columns of the speech table.
An utterance's split depends on its id alone: it never changes.

exit status: 0; 3 if some audio could not be converted to --audio-format; else as for 'tts-pipeline run'."""


_EMULATE_EPILOG = """\
The service speaks with espeak-ng behind the same interface as the paid services, and keeps its own bill. It
is a fair rehearsal of all their languages except Japanese: espeak-ng spells kanji and digits, so that
Japanese audio is about three times as long as that of a real voice."""
_COMPLETION_EPILOG = """\
For bash, write the script to a file that new shells read:
  tts-pipeline completion bash > ~/.local/share/bash-completion/completions/tts-pipeline
For zsh, write it to a folder of $fpath, such as ~/.zfunc (then 'autoload -U compinit; compinit'):
  tts-pipeline completion zsh > ~/.zfunc/_tts-pipeline
For fish:
  tts-pipeline completion fish > ~/.config/fish/completions/tts-pipeline.fish"""

_LATENCY_HELP = "mean time to an answer, in seconds (default: measured by DESTINATION and the datasets of --reuse)"


class _Parser(argparse.ArgumentParser):
    """A parser that raises ``ConfigurationError`` for a wrong command line."""

    def __init__(self, **kwargs: Any) -> None:
        # An abbreviated flag in a nightly job would become ambiguous when a new flag is added.
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message, hint=f"see {self.prog} --help")


class _PrintVersion(argparse.Action):
    """Prints the version, which is looked up only for this flag."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"{parser.prog} {version('tts-pipeline')}")
        parser.exit()


def parse_arguments(argv: Sequence[str]) -> Namespace:
    """Parse a command line.

    Returns:
        ``command``, and only the flags that were given, except for ``emulate``, whose flags have defaults.

    Raises:
        ConfigurationError: An argument is wrong; the message names it, and the hint the nearest flag.
        SystemExit: Help or the version was requested and printed.
    """
    parser, commands = make_parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        known = re.findall(r"--[a-z-]+", commands[arguments.command].format_usage())
        nearest = did_you_mean(unknown[0].partition("=")[0], known) if unknown[0].startswith("-") else ""
        raise ConfigurationError(
            f"unknown argument {unknown[0]!r}", hint=f"{nearest}See tts-pipeline {arguments.command} --help"
        )
    return arguments


def make_parser() -> tuple[_Parser, dict[str, argparse.ArgumentParser]]:
    """Return the parser, and the parsers of the commands by name."""
    parser = _Parser(
        prog="tts-pipeline", description="Speech from text in bulk: Parquet in; audio, word timestamps and a bill out."
    )
    parser.add_argument(
        "--version", action=_PrintVersion, nargs=0, default=argparse.SUPPRESS, help="show the version and exit"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands: dict[str, argparse.ArgumentParser] = {
        name: subparsers.add_parser(name, help=brief, description=brief, epilog=epilog)
        for name, brief, epilog in (
            ("run", "make a speech dataset, or continue one", _RUN_EPILOG),
            ("demo", "make a small dataset with the local voice", None),
            ("estimate", "estimate the requests, characters, cost, hours and time of a job", _ESTIMATE_EPILOG),
            ("validate", "check a whole job without sending or writing anything", _RUN_EPILOG),
            ("services", "list the services of the catalog", None),
            ("models", "show models: voices, languages, parameters, limits, prices", None),
            (
                "report",
                "report the cost of all jobs or of datasets, by month, team, voice and more",
                REPORT_EPILOG,
            ),
            ("export", "export audio files, or a dataset for Hugging Face, NeMo or lhotse", _EXPORT_EPILOG),
            (
                "browse",
                "listen to a dataset and read its bill, or the ledger's, in a page on this machine",
                _BROWSE_EPILOG,
            ),
            ("emulate", "run the local speech service in the foreground", _EMULATE_EPILOG),
            ("completion", "print a script that completes commands and flags in a shell", _COMPLETION_EPILOG),
        )
    }
    commands |= add_account_commands(subparsers)
    commands |= add_ledger_commands(subparsers)
    commands |= add_reconcile_command(subparsers)
    for name in ("run", "validate", "estimate"):
        _add_job(commands[name], is_estimate=name == "estimate")
    _add_demo(commands["demo"])
    _add_listings(commands["services"], commands["models"])
    add_report(commands["report"])
    _add_export(commands["export"])
    _add_browse(commands["browse"])
    add_arguments(commands["emulate"])
    commands["completion"].add_argument("shell", metavar="|".join(SHELLS), choices=SHELLS, help="the shell")
    return parser, commands


def _add_job(parser: argparse.ArgumentParser, *, is_estimate: bool) -> None:
    parser.add_argument("source", metavar="SOURCE", help="Parquet with a text and an id in each row")
    if is_estimate:
        parser.add_argument(
            "destination", metavar="DESTINATION", nargs="?", default="", help="the dataset, if it exists"
        )
    else:
        parser.add_argument("destination", metavar="DESTINATION", help="the folder or URL of the dataset")
    parser.add_argument("--config", metavar="JOB.toml", default=argparse.SUPPRESS, help="read settings from this file")
    for title, options in GROUPS.items():
        group = parser if title == COMMAND_LINE else parser.add_argument_group(title)
        for option in options:
            _add_option(group, option)
        if title == "how fast" and is_estimate:
            group.add_argument("--latency-s", metavar="S", type=_seconds, help=_LATENCY_HELP)


def _seconds(text: str) -> float:
    try:
        return positive_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_option(group: argparse._ActionsContainer, option: Option) -> None:
    if option.kind is OptionKind.SWITCH:
        group.add_argument(option.flag, action="store_true", default=argparse.SUPPRESS, help=option.help)
    else:
        action = "store" if option.kind is OptionKind.VALUE else "append"
        group.add_argument(
            option.flag, action=action, metavar=option.metavar, default=argparse.SUPPRESS, help=option.help_with_default
        )


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "destination", metavar="DESTINATION", nargs="?", default="tts-demo", help="a folder (default: ./%(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _add_listings(services: argparse.ArgumentParser, models: argparse.ArgumentParser) -> None:
    models.add_argument("model", metavar="MODEL", nargs="?", help="only this model, in full")
    models.add_argument("--service", metavar="NAME|URL", help="only the models of this service, in full")
    for parser in (services, models):
        parser.add_argument("--catalog", metavar="FILE.toml", help="your own services, models and prices")
        parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="the folder or URL of a dataset")
    parser.add_argument("destination", metavar="DEST", help="a folder or a URL, empty or with an earlier export")
    parser.add_argument("--as", dest="as_", metavar="|".join(EXPORT_FORMATS), required=True, help="the format")
    parser.add_argument("--name", metavar="TEMPLATE", help="the names of files (default: {utterance_id}.{ext})")
    parser.add_argument(
        "--where", metavar="SQL", help='only rows that meet this condition, such as "duration_ms < 20000"'
    )
    parser.add_argument("--split", metavar="NAME=SHARE,...", help="such as train=0.98,validation=0.02 (default: none)")
    parser.add_argument(
        "--audio-format",
        metavar="FORMAT",
        default=AudioSettings().format,
        help="as-received, wav, flac, mp3 or ogg (default: %(default)s)",
    )
    parser.add_argument("--sample-rate-hz", metavar="N", type=int, help="resample to this rate (default: unchanged)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _add_browse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", nargs="?", help="a folder or a URL")
    parser.add_argument(
        "--ledger",
        metavar="DIR|URL",
        nargs="?",
        const=True,
        help="show the ledger's bill (default: that of TTS_LEDGER, else a folder in the user's state directory)",
    )
    parser.add_argument(
        "--timezone",
        metavar="ZONE",
        help="of the bill's months and days, such as Asia/Shanghai (default: that of the frozen months, else UTC)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to answer on (default: %(default)s, this machine only)"
    )
    parser.add_argument("--port", type=int, default=0, help="the port; 0 chooses a free one (default: %(default)s)")
