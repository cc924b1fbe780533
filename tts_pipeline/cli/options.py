"""What can be set for a job, each once: as a flag of the command line and as a key of a job file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, get_args

from tts_pipeline.config import (
    LEASE_S,
    PART_ROWS,
    UNSPEAKABLE,
    AudioSettings,
    InputColumns,
    Limits,
    Selection,
    UnspeakableAction,
)


class OptionKind(Enum):
    """How a setting is given."""

    VALUE = "one value; the last one counts"
    SWITCH = "on or off"
    NAMES = "a name each time; an array in a job file"
    PAIRS = "NAME=VALUE each time; a table in a job file"


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    Args:
        name: The key in a job file; with hyphens, the flag.
        help: For ``--help``.
        metavar: What stands for the value in ``--help``.
        kind: How it is given.
        parse: Text -> value, for ``OptionKind.VALUE``.
    """

    name: str
    help: str
    metavar: str | None = None
    kind: OptionKind = OptionKind.VALUE
    parse: Callable[[str], Any] = str

    @property
    def flag(self) -> str:
        """The setting as a flag."""
        return "--" + self.name.replace("_", "-")


def _non_empty_text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, not {text!r}") from None


def _positive_integer(text: str) -> int:
    number = _integer(text)
    if number < 1:
        raise ValueError(f"must be 1 or more, not {text}")
    return number


def _non_negative_integer(text: str) -> int:
    number = _integer(text)
    if number < 0:
        raise ValueError(f"must be 0 or more, not {text}")
    return number


def positive_number(text: str) -> float:
    """Read a number more than 0.

    Raises:
        ValueError: It is none; says what is wrong.
    """
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"must be a number, not {text!r}") from None
    if not 0 < number < math.inf:
        raise ValueError(f"must be more than 0, not {text}")
    return number


def _cost(text: str) -> tuple[Decimal, str]:
    """Read an amount with its currency (``500CNY``, ``0.5 USD``), exactly."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]{3})", text.strip())
    if match is None:
        raise ValueError(f"must be an amount with its currency, as 500CNY, not {text!r}")
    amount, currency = Decimal(match[1]), match[2].upper()
    if not amount:
        raise ValueError(f"must be more than 0, not {text}")
    return amount, currency


def _reject_limit(text: str) -> float:
    """Read a number of rejects (``0``, ``100``), or a share of the rows (``0.05``)."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    is_share = 0 < number < 1
    if not is_share and not (number >= 0 and text.isdecimal()):
        raise ValueError(f"must be a whole number, or a share of the rows between 0 and 1, not {text!r}")
    return number


def _unspeakable(text: str) -> str:
    if text not in get_args(UnspeakableAction):
        raise ValueError(f"must be keep or reject, not {text!r}")
    return text


def _on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"must be on or off, not {text!r}")
    return text == "on"


_AUDIO = AudioSettings()
_LIMITS = Limits()
_COLUMNS = InputColumns()

OPTIONS = (
    Option("service", "a name (see 'tts-pipeline services') or a URL; 'local' speaks on this machine", "NAME|URL"),
    Option("model", "the model, as the service calls it (see 'tts-pipeline models')", "MODEL", parse=_non_empty_text),
    Option("voice", "the voice of all rows; the same as --set voice=V", "V"),
    Option("column", "take a parameter from a column, row by row", "PARAM=COLUMN", OptionKind.PAIRS),
    Option(
        "set",
        "one value of a parameter for all rows, or for those whose column is null",
        "PARAM=VALUE",
        OptionKind.PAIRS,
    ),
    Option("unchecked", "let any value of this parameter through", "PARAM", OptionKind.NAMES),
    Option("rename", "another name for an input column in the speech table", "OLD=NEW", OptionKind.PAIRS),
    Option("drop", "leave this input column unread", "COLUMN", OptionKind.NAMES),
    Option("id_column", f"the column of the ids (default: {_COLUMNS.utterance_id})", "NAME", parse=_non_empty_text),
    Option("generate_ids", "make ids from file and row", kind=OptionKind.SWITCH),
    Option("text_column", f"the column of the texts (default: {_COLUMNS.text})", "NAME", parse=_non_empty_text),
    Option(
        "hive",
        f"folders such as speaker=Cherry are columns (default: {'on' if _COLUMNS.hive else 'off'})",
        "on|off",
        parse=_on_off,
    ),
    Option("limit", "only the first N rows, for a pilot", "N", parse=_positive_integer),
    Option("sample", "only N rows, drawn by --seed", "N", parse=_positive_integer),
    Option("seed", f"which rows --sample draws (default: {Selection().seed})", "S", parse=_integer),
    Option(
        "max_concurrency",
        f"requests in flight at one time (default: {_LIMITS.max_concurrency})",
        "N",
        parse=_positive_integer,
    ),
    Option(
        "requests_per_minute",
        "a smooth rate (default: the service's own limit, where known)",
        "N",
        parse=positive_number,
    ),
    Option(
        "characters_per_minute", "a smooth rate of characters as billed (default: none)", "N", parse=positive_number
    ),
    Option("max_cost", "the most that the job may cost, over all its runs, with its currency", "500CNY", parse=_cost),
    Option(
        "max_characters",
        "the most characters that it may be billed for, over all its runs",
        "N",
        parse=_positive_integer,
    ),
    Option("max_rejects", "more rejects, or a greater share of the rows, stop the run", "N|RATIO", parse=_reject_limit),
    Option(
        "max_attempts",
        f"attempts before a row is a reject; a 429 is none (default: {_LIMITS.max_attempts})",
        "N",
        parse=_positive_integer,
    ),
    Option(
        "timeout_s",
        f"the longest silence of the service, in seconds (default: {_LIMITS.timeout_s:g})",
        "S",
        parse=positive_number,
    ),
    Option(
        "audio_format",
        f"as-received, wav, flac, mp3 or ogg (default: {_AUDIO.format})",
        "FORMAT",
        parse=_non_empty_text,
    ),
    Option("sample_rate_hz", "resample to this rate (default: as received)", "N", parse=_positive_integer),
    Option(
        "pause_ms",
        f"silence between the segments of a long text (default: {_AUDIO.pause_ms})",
        "N",
        parse=_non_negative_integer,
    ),
    Option("quality", "what to do about audio with this flag: keep, retry or reject", "FLAG=ACTION", OptionKind.PAIRS),
    Option(
        "unspeakable",
        f"texts without anything to say, as '...': keep sends them, reject does not (default: {UNSPEAKABLE})",
        "keep|reject",
        parse=_unspeakable,
    ),
    Option(
        "part_rows",
        f"rows in a part of a new dataset (default: {PART_ROWS}, or more for large sources)",
        "N",
        parse=_positive_integer,
    ),
    Option(
        "work_dir", "a local folder for journals (default: inside a local destination)", "DIR", parse=_non_empty_text
    ),
    Option(
        "lease_s",
        "how long the parts of a run stay its own after its last sign of life, where machines meet at an object store, "
        f"in seconds (default: {LEASE_S:g})",
        "S",
        parse=positive_number,
    ),
    Option(
        "reuse",
        "take what was bought before from this dataset or reuse store, and keep what is bought in the store",
        "DATASET|DIR|URL",
        OptionKind.NAMES,
    ),
    Option("catalog", "services, models and prices of your own", "FILE.toml", parse=_non_empty_text),
    Option("prices", "what models cost you, in place of their list prices", "FILE.toml", parse=_non_empty_text),
    Option("retry_rejects", "try rejected rows anew, also those of finished parts", kind=OptionKind.SWITCH),
    Option("append", "take in new files of the source wherever they stand among the old ones", kind=OptionKind.SWITCH),
    Option(
        "rebuild",
        "make the dataset anew for a source or settings that changed; what is unchanged is not bought again, and the "
        "old dataset stays until the new one is finished",
        kind=OptionKind.SWITCH,
    ),
    Option("tag", "a label for the bill", "KEY=VALUE", OptionKind.PAIRS),
    Option("tag_column", "a label for the bill from a column, row by row", "KEY=COLUMN", OptionKind.PAIRS),
    Option("json", "print the result as one JSON object, the last line of standard output", kind=OptionKind.SWITCH),
    Option("quiet", "no progress", kind=OptionKind.SWITCH),
)
"""In the order of ``--help``."""

BY_NAME = {option.name: option for option in OPTIONS}

EXCLUSIVE = (("id_column", "generate_ids"), ("limit", "sample"))
"""Pairs of which only one may be given; a flag goes before the other one in a job file."""
