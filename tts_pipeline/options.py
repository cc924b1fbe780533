"""The table of a job's options: flags, keys of a job file and names of parameters are derived from it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, get_args

from tts_pipeline.config import (
    LEASE_S,
    PART_ROWS,
    UNSPEAKABLE,
    AudioSettings,
    BudgetCap,
    InputColumns,
    Limits,
    Selection,
    UnspeakableAction,
)


class OptionKind(Enum):
    """The way to give an option."""

    VALUE = "one value; the last one counts"
    SWITCH = "on or off"
    NAMES = "a name each time; an array in a job file"
    PAIRS = "NAME=VALUE each time; a table in a job file"


_HOLDERS: Mapping[str, object] = {
    "audio": AudioSettings(),
    "budget": BudgetCap(),
    "columns": InputColumns(),
    "limits": Limits(),
    "selection": Selection(),
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a job: ``name`` is its key in a job file and, with hyphens, its flag.

    ``holder`` is the value with its field: ``job``, ``options``, or a part of these; it is empty for options of the
    command line alone. ``help`` is without the default. ``parse`` reads text for ``OptionKind.VALUE``. ``alias`` is the
    name of the field, or argument, in Python; None is the same name. A job file names a path (``is_path``) from its own
    folder, unless it is the ``keyword``.
    """

    name: str
    holder: str
    help: str
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    kind: OptionKind = OptionKind.VALUE
    alias: str | None = None
    is_path: bool = False
    keyword: str | None = None

    @property
    def flag(self) -> str:
        """The flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def parameter(self) -> str:
        """The name of the field or argument in Python."""
        return self.alias or self.name

    @property
    def help_with_default(self) -> str:
        """The help, with the default where ``config`` has one."""
        default = getattr(_HOLDERS.get(self.holder), self.parameter, None)
        if default is None or self.kind is not OptionKind.VALUE:
            return self.help
        if isinstance(default, bool):
            default = "on" if default else "off"
        return f"{self.help} (default: {f'{default:g}' if isinstance(default, float) else default})"


def _non_empty_text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, not {text!r}") from None


def _positive_integer(text: str, least: int = 1) -> int:
    number = _integer(text)
    if number < least:
        raise ValueError(f"must be {least} or more, not {text}")
    return number


_non_negative_integer = partial(_positive_integer, least=0)


def positive_number(text: str) -> float:
    """Parse a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"must be a number, not {text!r}") from None
    if not 0 < number < math.inf:
        raise ValueError(f"must be more than 0, not {text}")
    return number


def _cost(text: str) -> tuple[Decimal, str]:
    """Parse an amount with its currency (``500CNY``, ``0.5 USD``), exactly."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]{3})", text.strip())
    if match is None:
        raise ValueError(f"must be an amount with its currency, such as 500CNY, not {text!r}")
    amount, currency = Decimal(match[1]), match[2].upper()
    if not amount:
        raise ValueError(f"must be more than 0, not {text}")
    return amount, currency


def _reject_limit(text: str) -> float:
    """Parse a number of rejects (``0``, ``100``), or a share of the rows (``0.05``)."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    is_share = 0 < number < 1
    if not is_share and not (number >= 0 and text.isdecimal()):
        raise ValueError(f"must be a whole number, or a share of the rows between 0 and 1, not {text!r}")
    return number


def _one_of(text: str, choices: Mapping[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(f"must be {' or '.join(choices)}, not {text!r}")
    return choices[text]


_on_off = partial(_one_of, choices={"on": True, "off": False})
_unspeakable = partial(_one_of, choices={action: action for action in get_args(UnspeakableAction)})

_NAMES, _PAIRS, _SWITCH = OptionKind.NAMES, OptionKind.PAIRS, OptionKind.SWITCH

COMMAND_LINE = "options"
"""The group of options that only the command line has."""

GROUPS: Mapping[str, Sequence[Option]] = {
    "what": (
        Option(
            "service",
            "job",
            "a name (see 'tts-pipeline services') or a URL; 'local' speaks on this machine",
            "NAME|URL",
            _non_empty_text,
        ),
        Option(
            "model", "job", "the model, as the service calls it (see 'tts-pipeline models')", "MODEL", _non_empty_text
        ),
        Option("catalog", "job", "your own services, models and prices", "FILE.toml", _non_empty_text, is_path=True),
        Option("voice", "parameters", "the voice of all rows; the same as --set voice=V", "V"),
        Option(
            "set",
            "job",
            "one value of a parameter for all rows, or for those whose column is null",
            "PARAM=VALUE",
            kind=_PAIRS,
            alias="parameters",
        ),
        Option(
            "column",
            "columns",
            "take a parameter from a column, row by row",
            "PARAM=COLUMN",
            kind=_PAIRS,
            alias="parameters",
        ),
        Option("unchecked", "job", "send any value of this parameter without a check", "PARAM", kind=_NAMES),
        Option("text_column", "columns", "the column of the texts", "NAME", _non_empty_text, alias="text"),
        Option("id_column", "columns", "the column of the ids", "NAME", _non_empty_text, alias="utterance_id"),
        Option("generate_ids", "columns", "make ids from file names and row numbers", kind=_SWITCH),
        Option("rename", "columns", "another name for an input column in the speech table", "OLD=NEW", kind=_PAIRS),
        Option("drop", "columns", "do not read this input column", "COLUMN", kind=_NAMES),
        Option("hive", "columns", "read folders such as speaker=Cherry as columns", "on|off", _on_off),
        Option(
            "unspeakable",
            "options",
            f"texts without anything to say, such as '...': send them or reject them (default: {UNSPEAKABLE})",
            "keep|reject",
            _unspeakable,
        ),
        Option("retry_rejects", "options", "try rejected rows again, also those of finished parts", kind=_SWITCH),
        Option("append", "options", "add new files of the source, wherever they sort among the old ones", kind=_SWITCH),
        Option(
            "rebuild",
            "options",
            "make the dataset again for a changed source or changed settings; unchanged rows are not bought again, "
            "and the old dataset stays until the new one is finished",
            kind=_SWITCH,
        ),
    ),
    "how fast": (
        Option("max_concurrency", "limits", "requests in flight at the same time", "N", _positive_integer),
        Option(
            "requests_per_minute",
            "limits",
            "a smooth rate of requests (default: the service's own limit, if known)",
            "N",
            positive_number,
        ),
        Option(
            "characters_per_minute",
            "limits",
            "a smooth rate of billed characters (default: none)",
            "N",
            positive_number,
        ),
        Option(
            "account_concurrency",
            "limits",
            "requests in flight of all processes that share the account (default: the service's own limit, if known)",
            "N",
            _positive_integer,
        ),
        Option(
            "max_attempts",
            "limits",
            "attempts before a row becomes a reject; a 429 does not count",
            "N",
            _positive_integer,
        ),
        Option(
            "timeout_s",
            "limits",
            "the longest silence of the service within a request, in seconds",
            "S",
            positive_number,
        ),
    ),
    "how much": (
        Option("limit", "selection", "only the first N rows, for a pilot", "N", _positive_integer),
        Option("sample", "selection", "only N rows, drawn by --seed", "N", _positive_integer),
        Option("seed", "selection", "the seed of --sample: the same seed draws the same rows", "S", _integer),
        Option(
            "max_cost",
            "budget",
            "the most that the job may cost, over all its runs, with its currency",
            "500CNY",
            _cost,
        ),
        Option(
            "max_characters",
            "budget",
            "the most characters that the job may be billed for, over all its runs",
            "N",
            _positive_integer,
        ),
        Option(
            "max_rejects",
            "options",
            "the most rejects, as a number or a share of the rows; more stop the run",
            "N|RATIO",
            _reject_limit,
        ),
    ),
    "audio": (
        Option(
            "audio_format", "audio", "as-received, wav, flac, mp3 or ogg", "FORMAT", _non_empty_text, alias="format"
        ),
        Option("sample_rate_hz", "audio", "resample to this rate (default: as received)", "N", _positive_integer),
        Option("pause_ms", "audio", "silence between the segments of a long text", "N", _non_negative_integer),
        Option(
            "quality",
            "options",
            "the action for audio with this flag: keep, retry or reject",
            "FLAG=ACTION",
            kind=_PAIRS,
        ),
    ),
    "bill": (
        Option(
            "prices",
            "job",
            "your prices of models, in place of the list prices",
            "FILE.toml",
            _non_empty_text,
            is_path=True,
        ),
        Option("tag", "options", "a label for the bill", "KEY=VALUE", kind=_PAIRS, alias="tags"),
        Option(
            "tag_column",
            "options",
            "a label for the bill from a column, row by row",
            "KEY=COLUMN",
            kind=_PAIRS,
            alias="tag_columns",
        ),
    ),
    "where": (
        Option(
            "reuse",
            "options",
            "reuse the audio of this dataset or reuse store; a reuse store also keeps new purchases",
            "DATASET|DIR|URL",
            kind=_NAMES,
            is_path=True,
        ),
        Option(
            "work_dir",
            "options",
            "a local folder for journals (default: inside a local destination)",
            "DIR",
            _non_empty_text,
            is_path=True,
        ),
        Option(
            "account_store",
            "options",
            "where processes share the account's rates, pauses and budgets (default: TTS_ACCOUNT_STORE, else a file of "
            "this machine and user); 'none' shares nothing",
            "URL|FILE|none",
            _non_empty_text,
            is_path=True,
            keyword="none",
        ),
        Option(
            "ledger",
            "options",
            "where the usage of all runs is kept, also when a dataset is deleted (default: TTS_LEDGER, else a folder "
            "of this user); 'none' keeps none",
            "DIR|URL|none",
            _non_empty_text,
            is_path=True,
            keyword="none",
        ),
        Option(
            "part_rows",
            "options",
            f"rows in a part of a new dataset (default: {PART_ROWS}, or more for large sources)",
            "N",
            _positive_integer,
        ),
        Option(
            "lease_s",
            "options",
            "seconds for which a run keeps its parts after its last heartbeat, if machines share an object store "
            f"(default: {LEASE_S:g})",
            "S",
            positive_number,
        ),
    ),
    COMMAND_LINE: (
        Option("json", "", "print the result as one JSON object, the last line of standard output", kind=_SWITCH),
        Option("quiet", "", "no progress", kind=_SWITCH),
    ),
}
"""Options by group, in the order of ``--help``."""

OPTIONS = tuple(option for group in GROUPS.values() for option in group)

BY_NAME = {option.name: option for option in OPTIONS}

BY_PARAMETER = {
    **{option.parameter: option for option in OPTIONS},
    "parameters": BY_NAME["set"],
    "columns": BY_NAME["column"],
}
"""Options by the name that a message uses: ``columns`` are those of parameters, as in ``tts.run(columns=...)``."""

EXCLUSIVE = (("id_column", "generate_ids"), ("limit", "sample"))
"""Pairs of options that exclude each other; a flag overrides the other option in a job file."""
