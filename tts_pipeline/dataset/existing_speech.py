"""Read the speech of an open part that is at the destination already: its rows are done, and are copied at the commit.

A part is open while it has no marker. Its speech file may still exist: a run died between the two, perhaps with its
journal, or the part was reopened for its rejects. Such a file is whole, since files appear atomically, and belongs to
this part, since a destination holds one dataset. So its rows are done, whatever the journals say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from tts_pipeline.dataset.active_part import PartRows
from tts_pipeline.dataset.names import file_names
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StorageError
from tts_pipeline.models import History, UtteranceKey
from tts_pipeline.schema import SPEECH, USAGE
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.parquet import conform_columns, open_parquet
from tts_pipeline.storage.parquet_reader import ParquetReader
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.replay import merge_histories

_SPEECH_COLUMNS = ("utterance_id", "take", "voice", "language", "duration_ms", "deduplicated_from")
_USAGE_COLUMNS = ("utterance_id", "take", "segment", "characters_billed", "cost")


@dataclass(frozen=True, slots=True)
class ExistingSpeech:
    """The utterances in a part's speech file, each with its row in the file, and their totals."""

    row_indices: Mapping[UtteranceKey, int] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    voices: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)


NO_SPEECH = ExistingSpeech()


def speech_name(rows: PartRows) -> str:
    """Return the name of a part's speech file."""
    return f"speech/{rows.name}.parquet"


def read_existing_speech(store: Store, rows: PartRows) -> ExistingSpeech:
    """Read the keys and totals of a part's speech file; without a file, return ``NO_SPEECH``. Blocking.

    Raises:
        StorageError: The file cannot be read, or holds rows that are not in the source.
    """
    if not store.exists(speech_name(rows)):
        return NO_SPEECH
    with open_parquet(store, speech_name(rows)) as parquet:
        table = parquet.read(columns=list(_SPEECH_COLUMNS), use_threads=False)
        columns = conform_columns(table, _SPEECH_COLUMNS, SPEECH, store.describe(speech_name(rows))).to_pydict()
    row_indices = {key: row for row, key in enumerate(zip(columns["utterance_id"], columns["take"], strict=True))}
    if not row_indices.keys() <= set(rows.keys):
        raise StorageError(
            f"{store.describe(speech_name(rows))} holds rows that are not in the source",
            hint="it belongs to another dataset: remove it, or use another destination",
        )
    return ExistingSpeech(
        row_indices,
        Totals(
            speech=len(row_indices),
            reused=sum(origin is not None for origin in columns["deduplicated_from"]),
            audio_ms=sum(columns["duration_ms"]),
        ),
        Counter(voice or "" for voice in columns["voice"]),
        Counter(language or "" for language in columns["language"]),
    )


class ExistingSpeechReader:
    """Reads ranges of rows in ascending order, each row once."""

    def __init__(self, slices: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        self._slices = slices
        self._schema = schema
        self._first_row = 0
        self._table = schema.empty_table()

    def rows(self, start: int, end: int) -> Iterator[pa.Table]:
        """Yield the rows from ``start`` up to, not including, ``end``, in tables of at most one slice."""
        while start < end:
            while start >= self._first_row + self._table.num_rows:
                self._first_row += self._table.num_rows
                self._table = pa.Table.from_batches([next(self._slices)]).cast(self._schema)
            until = min(end, self._first_row + self._table.num_rows)
            yield self._table.slice(start - self._first_row, until - start)
            start = until


@contextmanager
def open_existing_speech(store: Store, rows: PartRows, schema: pa.Schema) -> Iterator[ExistingSpeechReader]:
    """Open a part's speech file to copy rows from it. Blocking."""
    name = store.describe(speech_name(rows))
    with storage_errors(f"reading {name}", Exception), store.open(speech_name(rows)) as stream:
        parquet = ParquetReader(stream, name, is_local=isinstance(store, LocalStore))
        yield ExistingSpeechReader(parquet.slices(range(parquet.metadata.num_row_groups)), schema)


def published_histories(store: Store, rows: PartRows, local_journals: Collection[str]) -> dict[UtteranceKey, History]:
    """Return the histories of a part's utterances in published usage whose journals are not on this machine. Blocking.

    With them, the numbers of attempts continue, and the cost of a row includes all its requests.
    """
    histories: dict[UtteranceKey, History] = {}
    for name in file_names(store, "usage", f"{rows.name}-"):
        if name.removeprefix(f"{rows.name}-").removesuffix(".parquet") in local_journals:
            continue
        with open_parquet(store, f"usage/{name}") as parquet:
            table = parquet.read(columns=list(_USAGE_COLUMNS), use_threads=False)
            columns = conform_columns(table, _USAGE_COLUMNS, USAGE, store.describe(f"usage/{name}")).to_pydict()
        for utterance_id, take, segment, *amounts in zip(*(columns[name] for name in _USAGE_COLUMNS), strict=True):
            if utterance_id is not None:  # null for a lost journal, whose utterances are unknown
                request = History({}, None, {segment: 1}, *amounts)
                known = histories.get((utterance_id, take))
                histories[utterance_id, take] = request if known is None else merge_histories(known, request)
    return histories
