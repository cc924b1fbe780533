"""Name the files of a ledger, and refuse foreign names.

::

    <ledger>/
      ledger.json                              format and id, made by the first write
      usage/<dataset_id>/part-<n>-<journal_id>.parquet   usage files as their datasets published them
      datasets/<dataset_id>.json               where the dataset is, for people
      runs/open/<dataset_id>-<invocation_id>.json   a run that has begun
      runs/<month>/<invocation_id>.json        a run that has ended, by the month of its start (UTC)
      frozen/<month>.json                      the manifest of a compacted month, written last
      frozen/<month>/<n>-<compaction>.parquet  its rows
      frozen/<month>/sums-<n>-<compaction>.parquet       its rows, added up
      settlements/<name>.parquet               rows that settle others, append only
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tts_pipeline.dataset.names import is_valid_name, parse_journal_id
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.store import Store

LEDGER_FILE = "ledger.json"
USAGE, DATASETS, RUNS, FROZEN, SETTLEMENTS = "usage", "datasets", "runs", "frozen", "settlements"
OPEN_RUNS = f"{RUNS}/open"

DATASET_ID_LENGTH = 16

_DATASET_ID = re.compile(rf"[0-9a-f]{{{DATASET_ID_LENGTH}}}", re.ASCII)
_RUN = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_MONTH = re.compile(r"[1-9]\d{3}-(?:0[1-9]|1[0-2])", re.ASCII)
_TABLE = re.compile(r"(?:sums-)?\d{5}-[0-9a-f]{24}\.parquet", re.ASCII)
_SETTLEMENT = re.compile(r"\w[\w.-]{0,199}", re.ASCII)
_GENERATION = re.compile(r"generation-\d+-", re.ASCII)
_OPENED_NS = re.compile(r"[0-9a-f]{16}(?=[0-9a-f]{8}\Z)", re.ASCII)


def usage_file_name(name: str) -> str:
    """Return the name in a ledger of a dataset's usage file: a rebuild renames the files of earlier generations."""
    return _GENERATION.sub("", name.rsplit("/", 1)[-1], count=1)


def usage_path(dataset_id: str, name: str) -> str:
    """Return the path of a usage file in a ledger."""
    return f"{USAGE}/{dataset_id}/{name}"


def parse_usage_path(path: str, store: Store) -> tuple[str, str]:
    """Return the dataset's id and the name in a path below ``usage``.

    Raises:
        StorageError: The path is foreign. Ignoring a renamed file would silently omit the spending in it.
    """
    dataset_id, _, name = path.partition("/")
    if not (_DATASET_ID.fullmatch(dataset_id) and is_valid_name("usage", name) and name == usage_file_name(name)):
        raise foreign_name(store, f"{USAGE}/{path}")
    return dataset_id, name


def is_dataset_id(text: str) -> bool:
    """Return whether a text is the id of a dataset."""
    return _DATASET_ID.fullmatch(text) is not None


def opened_at_us(name: str) -> int | None:
    """Return when the journal of a usage file was opened, in microseconds since 1970; None if its id does not tell."""
    opened_ns = _OPENED_NS.match(parse_journal_id(name))
    return None if opened_ns is None else int(opened_ns[0], 16) // 1_000


def check_month(month: str, location: str) -> str:
    """Return a month such as ``2026-11``; raise StorageError for another text."""
    if not _MONTH.fullmatch(month):
        raise StorageError(f"{location} is not the name of a month", hint="restore its name, or move it elsewhere")
    return month


def month_of(at_us: int) -> str:
    """Return the month of an instant (UTC)."""
    return f"{datetime.fromtimestamp(at_us / 1_000_000, UTC):%Y-%m}"


def is_table_name(name: str) -> bool:
    """Return whether a name is that of a table of a frozen month."""
    return _TABLE.fullmatch(name) is not None


def is_run_id(text: str) -> bool:
    """Return whether a text can be the id of an invocation."""
    return _RUN.fullmatch(text) is not None


def settlement_path(name: str) -> str:
    """Return the path of a settlement; raise ValueError for a name that a file cannot have."""
    if not _SETTLEMENT.fullmatch(name):
        raise ValueError(f"{name!r} is not a name of a settlement: letters, digits, '.', '_' and '-'")
    return f"{SETTLEMENTS}/{name}.parquet"


def is_settlement_name(name: str) -> bool:
    """Return whether a name is that of a file of settlements."""
    return name.endswith(".parquet") and _SETTLEMENT.fullmatch(name.removesuffix(".parquet")) is not None


def foreign_name(store: Store, path: str, whole: str = "the ledger") -> StorageError:
    """Return the error for a name that no file of a ledger, or of another whole, has."""
    return StorageError(
        f"{store.describe(path)!r} is not the name of a file of {whole}",
        hint="restore its name, or move it elsewhere: a file of the bill must not be ignored",
    )
