"""The commands and their flags."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from tts_pipeline.cli.status import MEANINGS
from tts_pipeline.config import AudioSettings
from tts_pipeline.emulator.options import add_arguments
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.options import COMMAND_LINE, GROUPS, Option, OptionKind, positive_number

Namespace = argparse.Namespace

EXPORT_FORMATS = ("huggingface", "files", "nemo", "lhotse")
REPORT_FORMATS = ("table", "csv", "parquet", "json")
SHELLS = ("bash", "zsh", "fish")

_EXIT_STATUSES = "\n".join(f"  {status:<4} {meaning}" for status, meaning in MEANINGS.items())

_RUN_EPILOG = f"""\
SOURCE is a Parquet file, a folder, a glob or a URL of these. DESTINATION is a folder or a URL; a destination
that holds the same job already is continued, and nothing that is there is bought again.

A key comes from the environment: see 'tts-pipeline services'. --service local needs none; when TTS_LOCAL_URL
is set, it is the service that 'tts-pipeline emulate' runs there.

JOB.toml holds the same settings, with underscores: max_concurrency = 32, generate_ids = true,
unchecked = ["voice"]; tables for what is given as NAME=VALUE: column = {{ voice = "speaker" }},
set = {{ speed = 1.2 }}. "work_dir", "reuse", "catalog" and "prices" are seen from the folder of the file. A
flag goes before it.

--reuse PILOT takes audio from a dataset of the same service, model and parameters: a pilot becomes the full
job, a job is made again as FLAC, a second dataset shares lines with the first. --reuse STORE keeps whatever
is bought, as received, for every job that names it. It may be given several times. Rows with such audio cost
nothing, and say where it came from. Rows of one job that ask for the same are bought once in any case.

exit status:
{_EXIT_STATUSES}
In all of them everything done so far is kept."""

_ESTIMATE_EPILOG = """\
Nothing is sent, nothing is written, and no key is needed. Requests, characters and the cost by character
are exact if nothing has to be retried. The arguments, and JOB.toml, are those of 'tts-pipeline run': put
'estimate' in place of 'run', and it says what is left to buy. Without DESTINATION the dataset is new.

Hours and time rest on what DESTINATION and the datasets of --reuse measured, such as a pilot; else hours
rest on published paces of each language, right within a third, and the time is that of the rates alone."""

_REPORT_EPILOG = """\
Every request that may have cost money is a row of a dataset's usage table; these are added up. NAME is day,
hour, model, voice, service, account, dataset, outcome, error_code, price_basis, invocation_id or tag:KEY;
it may be given several times. Days and hours are UTC. Currencies are never added to one another, and a cost
that is not known is empty: requests_without_cost counts these."""

_BROWSE_EPILOG = """\
The page reads the dataset as it is and changes nothing; it needs no network. Whoever reaches the address
hears and reads everything, so that it answers on this machine only, unless --host says otherwise."""

_EXPORT_EPILOG = """\
A destination that holds an export of this format already is brought in step: only files that are new or
changed are written, and those that are no part of it any more are removed.

--as files writes an audio file for each utterance, and index.parquet; nemo and lhotse add their manifests;
huggingface is Parquet by split and a dataset card. --name is made of columns, {ext} and {split}; names are
safe whatever an id holds, and the index tells them. --where is SQL over the columns of the speech table.
An utterance's split follows from its id alone: it never changes.

exit status: 0; 3 where audio could not be brought to --audio-format; else as of 'tts-pipeline run'."""


_EMULATE_EPILOG = """\
It speaks with espeak-ng behind the same interface as the paid services, with a bill of its own. It is a fair
rehearsal of all their languages but Japanese: espeak-ng spells kanji and digits, so that Japanese audio is
about three times as long as a real voice's."""
_COMPLETION_EPILOG = """\
For bash, put the script into a file that new shells read:
  tts-pipeline completion bash > ~/.local/share/bash-completion/completions/tts-pipeline
For zsh, into a folder of $fpath, as ~/.zfunc (then 'autoload -U compinit; compinit'):
  tts-pipeline completion zsh > ~/.zfunc/_tts-pipeline
For fish:
  tts-pipeline completion fish > ~/.config/fish/completions/tts-pipeline.fish"""

_LATENCY_HELP = "mean time to an answer (default: as measured in DESTINATION and the datasets of --reuse)"


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are told like all others."""

    def __init__(self, **kwargs: Any) -> None:
        # An abbreviation that is clear today is ambiguous with the next flag, in somebody's nightly job.
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message, hint=f"see {self.prog} --help")


class _PrintVersion(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"{parser.prog} {version('tts-pipeline')}")
        parser.exit()


def parse_arguments(argv: Sequence[str]) -> Namespace:
    """Read a command line.

    Returns:
        ``command``, and only the flags that were given, except for ``emulate``, whose flags have defaults.

    Raises:
        ConfigurationError: A mistake in it; names it, and the nearest flag there is.
        SystemExit: Help was asked for, and printed.
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


def make_parser() -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser, and those of its commands by name."""
    parser = _Parser(
        prog="tts-pipeline", description="Speech from text in bulk: Parquet in; audio, word timestamps and a bill out."
    )
    parser.add_argument(
        "--version", action=_PrintVersion, nargs=0, default=argparse.SUPPRESS, help="show the version and exit"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands = {
        name: subparsers.add_parser(name, help=brief, description=brief, epilog=epilog)
        for name, brief, epilog in (
            ("run", "make a speech dataset, or go on with one", _RUN_EPILOG),
            ("demo", "make a small dataset with the local voice", None),
            ("estimate", "what a job would come to: requests, characters, cost, hours and time", _ESTIMATE_EPILOG),
            ("validate", "check a job whole, without sending or writing anything", _RUN_EPILOG),
            ("services", "list the services that are known by name", None),
            ("models", "show models: voices, languages, parameters, limits, prices", None),
            ("report", "what datasets cost, by day, model, voice, tag and more", _REPORT_EPILOG),
            ("export", "make audio files, or a dataset for Hugging Face, NeMo or lhotse", _EXPORT_EPILOG),
            ("browse", "listen to a dataset and look at its bill, in a page on this machine", _BROWSE_EPILOG),
            ("emulate", "run the local speech service in the foreground", _EMULATE_EPILOG),
            ("completion", "print a script that completes commands and flags in a shell", _COMPLETION_EPILOG),
        )
    }
    for name in ("run", "validate", "estimate"):
        _add_job(commands[name], is_estimate=name == "estimate")
    _add_demo(commands["demo"])
    _add_listings(commands["services"], commands["models"])
    _add_report(commands["report"])
    _add_export(commands["export"])
    _add_browse(commands["browse"])
    add_arguments(commands["emulate"])
    commands["completion"].add_argument("shell", metavar="|".join(SHELLS), choices=SHELLS, help="the shell")
    return parser, commands


def _add_job(parser: _Parser, *, is_estimate: bool) -> None:
    parser.add_argument("source", metavar="SOURCE", help="Parquet with a text and an id per row")
    if is_estimate:
        parser.add_argument(
            "destination", metavar="DESTINATION", nargs="?", default="", help="the dataset, if it exists"
        )
    else:
        parser.add_argument("destination", metavar="DESTINATION", help="where the dataset is made")
    parser.add_argument("--config", metavar="JOB.toml", default=argparse.SUPPRESS, help="settings from a file")
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


def _add_demo(parser: _Parser) -> None:
    parser.add_argument(
        "destination", metavar="DESTINATION", nargs="?", default="tts-demo", help="a folder (default: ./%(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _add_listings(services: _Parser, models: _Parser) -> None:
    models.add_argument("model", metavar="MODEL", nargs="?", help="only this one, in full")
    models.add_argument("--service", metavar="NAME|URL", help="only this service's, in full")
    for parser in (services, models):
        parser.add_argument("--catalog", metavar="FILE.toml", help="services, models and prices of your own")
        parser.add_argument("--json", action="store_true", help="everything, as one JSON object")


def _add_report(parser: _Parser) -> None:
    parser.add_argument("datasets", metavar="DATASET", nargs="+", help="a folder or a URL")
    parser.add_argument("--by", metavar="NAME", action="append", default=[], help="tell apart by this")
    parser.add_argument(
        "--format", metavar="|".join(REPORT_FORMATS), choices=REPORT_FORMATS, help="default: by FILE's name, else table"
    )
    parser.add_argument("--output", metavar="FILE", help="write it there in place of printing it")


def _add_export(parser: _Parser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="a folder or a URL that a job made")
    parser.add_argument("destination", metavar="DEST", help="a folder or a URL, empty or with an earlier export")
    parser.add_argument("--as", dest="as_", metavar="|".join(EXPORT_FORMATS), required=True, help="the format")
    parser.add_argument("--name", metavar="TEMPLATE", help="what files are called (default: {utterance_id}.{ext})")
    parser.add_argument("--where", metavar="SQL", help='only rows that meet this, as "duration_ms < 20000"')
    parser.add_argument("--split", metavar="NAME=SHARE,...", help="as train=0.98,validation=0.02 (default: none)")
    parser.add_argument(
        "--audio-format",
        metavar="FORMAT",
        default=AudioSettings().format,
        help="as-received, wav, flac, mp3 or ogg (default: %(default)s)",
    )
    parser.add_argument("--sample-rate-hz", metavar="N", type=int, help="resample to this rate (default: as it is)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _add_browse(parser: _Parser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="a folder or a URL")
    parser.add_argument(
        "--host", default="127.0.0.1", help="where it answers (default: %(default)s, this machine only)"
    )
    parser.add_argument("--port", type=int, default=0, help="0 is any free one (default: %(default)s)")
