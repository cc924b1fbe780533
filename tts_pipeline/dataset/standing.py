"""Speech of an open part that is at the destination already: it stays, and is written again beside what is new.

A part is open while it has no marker. Its speech file may be there all the same: a run died between the two, perhaps
with its journal, or the part was reopened for its rejects. Such a file is whole, since files appear at one stroke, and
of this part, since a destination holds one dataset. So its rows are done, whatever the journals say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.cost import total_cost
from tts_pipeline.dataset.names import file_names
from tts_pipeline.dataset.parts import PartRows
from tts_pipeline.dataset.replay import Key
from tts_pipeline.dataset.slices import SlicedParquet
from tts_pipeline.dataset.store import LocalStore, Store, storage_errors
from tts_pipeline.dataset.tables import own_columns
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StorageError
from tts_pipeline.models import History
from tts_pipeline.schema import SPEECH, USAGE

_COUNTED = ("utterance_id", "take", "voice", "language", "duration_ms", "deduplicated_from")
_SPENT = ("utterance_id", "take", "segment", "characters_billed", "cost")


@dataclass(frozen=True, slots=True)
class Standing:
    """What a part's speech file holds.

    Args:
        places: Each utterance's row in the file.
        totals: Speech, reused speech and its duration.
        voices: Rows by voice.
        languages: Rows by language.
    """

    places: Mapping[Key, int] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    voices: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)


NOTHING = Standing()


def speech_name(rows: PartRows) -> str:
    """Return the name of a part's speech file."""
    return f"speech/{rows.name}.parquet"


def standing_of(store: Store, rows: PartRows) -> Standing:
    """Look at a part's speech file; without one nothing stands. Blocking.

    Raises:
        StorageError: The destination failed, or the file is of other rows.
    """
    if not store.exists(speech_name(rows)):
        return NOTHING
    location = store.describe(speech_name(rows))
    with _parquet(store, speech_name(rows)) as parquet:
        table = parquet.read(columns=list(_COUNTED), use_threads=False)
    columns = own_columns(table, _COUNTED, SPEECH, location).to_pydict()
    places = {key: row for row, key in enumerate(zip(columns["utterance_id"], columns["take"], strict=True))}
    if not places.keys() <= set(rows.keys):
        raise StorageError(
            f"{location} holds other rows than the source's",
            hint="it is of another dataset: remove it, or name another destination",
        )
    return Standing(
        places,
        Totals(
            speech=len(places),
            reused=sum(origin is not None for origin in columns["deduplicated_from"]),
            audio_ms=sum(columns["duration_ms"]),
        ),
        Counter(voice or "" for voice in columns["voice"]),
        Counter(language or "" for language in columns["language"]),
    )


class StandingReader:
    """Reads runs of rows in ascending order, each row once.

    Args:
        slices: The rows of the speech file.
        schema: Of the tables that are given.
    """

    def __init__(self, slices: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        self._slices = slices
        self._schema = schema
        self._first = 0
        self._table = schema.empty_table()

    def rows(self, start: int, end: int) -> Iterator[pa.Table]:
        """Yield rows ``start`` to ``end`` (half open) in pieces of one slice at most."""
        while start < end:
            while start >= self._first + self._table.num_rows:
                self._first += self._table.num_rows
                self._table = pa.Table.from_batches([next(self._slices)]).cast(self._schema)
            until = min(end, self._first + self._table.num_rows)
            yield self._table.slice(start - self._first, until - start)
            start = until


@contextmanager
def standing_reader(store: Store, rows: PartRows, schema: pa.Schema) -> Iterator[StandingReader]:
    """Open a part's speech file to copy rows from it. Blocking.

    Raises:
        StorageError: The destination failed.
    """
    name = store.describe(speech_name(rows))
    with storage_errors(f"reading {name}", Exception), store.open(speech_name(rows)) as stream:
        parquet = SlicedParquet(stream, name, is_near=isinstance(store, LocalStore))
        yield StandingReader(parquet.slices(range(parquet.metadata.num_row_groups)), schema)


def earlier_histories(store: Store, rows: PartRows, journals_here: Collection[str]) -> dict[Key, History]:
    """Return what published usage tells of a part's utterances, where its journal is not on this machine any more.

    Requests are numbered on from there, and a row's cost is that of all its requests. Blocking.

    Raises:
        StorageError: The destination failed.
    """
    spent: dict[Key, list[tuple[int, int, Decimal | None]]] = {}
    for name in file_names(store, "usage", f"{rows.name}-"):
        if name.removeprefix(f"{rows.name}-").removesuffix(".parquet") in journals_here:
            continue
        with _parquet(store, f"usage/{name}") as parquet:
            table = parquet.read(columns=list(_SPENT), use_threads=False)
        columns = own_columns(table, _SPENT, USAGE, store.describe(f"usage/{name}")).to_pydict()
        for utterance_id, take, *facts in zip(*(columns[column] for column in _SPENT), strict=True):
            if utterance_id is not None:  # a lost journal's: nobody knows which utterances it was for
                spent.setdefault((utterance_id, take), []).append((facts[0], facts[1], facts[2]))
    return {key: _history(attempts) for key, attempts in spent.items()}


def _history(attempts: list[tuple[int, int, Decimal | None]]) -> History:
    return History(
        segment_attempts=Counter(segment for segment, _, _ in attempts),
        characters_billed=sum(characters for _, characters, _ in attempts),
        cost=total_cost(cost for _, _, cost in attempts),
    )


@contextmanager
def _parquet(store: Store, name: str) -> Iterator[Any]:
    reading = storage_errors(f"reading {store.describe(name)}", Exception)
    with reading, store.open(name) as stream, pq.ParquetFile(stream) as parquet:
        yield parquet
