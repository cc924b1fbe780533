"""Report usage in increments, so that each usage file is counted by exactly one of them.

Each increment is a record in a folder: ``000001.parquet``, ``000002.parquet`` and so on, each made with
create-if-absent. It names the run that it belongs to and the usage files that it counts, and holds their sums. So

- a run that is tried again, or repeated after months, gets the increment that it had, also when datasets are gone;
- of two runs at the same time, one makes the next record, and the other begins anew with what is left;
- usage that is published late is counted by the next run, whatever its time;
- usage that replaces a guess about a lost journal is counted with the guess taken away.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.report.facts import MEASURES, facts_of
from tts_pipeline.report.figures import group_facts, sum_groups
from tts_pipeline.report.keys import read_keys
from tts_pipeline.report.period import read_period
from tts_pipeline.report.usage_files import FILE, UsageFiles
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.store import Store, storage_errors

_FORMAT = 1
_FOLDER = "increments"
_METADATA = "increment"
_HINT = "restore it: what it counted would be counted again"
_USAGE_HINT = "restore the name of the file: the bill is known by the names of its files"


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a record says beside its sums; ``sizes_bytes`` are those of the usage files that it counts."""

    format: int = _FORMAT
    run: str
    table: str
    by: Sequence[str]
    timezone: str
    open_parts: int = 0
    sizes_bytes: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Increment:
    """What one run reports.

    Args:
        number: Its place among the increments, from 1.
        report: The columns of ``usage_report`` without those of reused audio. Figures are negative where usage replaced
            a guess that an earlier increment counted.
        open_parts: The open parts when it was made; their possible spending is in no increment.
        files: The number of usage files that it counts.
    """

    number: int
    report: pl.DataFrame
    open_parts: int
    files: int


@dataclass(frozen=True, slots=True)
class _Stored:
    number: int
    record: _Record
    groups: pl.DataFrame


class Increments:
    """The increments of one report, in a folder of a store. Every method blocks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_run(self, run: str) -> Increment | None:
        """Return the increment that a run has made; None if it has made none.

        Raises:
            StorageError: A record is missing or damaged.
        """
        return next((_increment(stored) for stored in self._read() if stored.record.run == run), None)

    def make(self, run: str, table: str, files: UsageFiles, by: Sequence[str], timezone: str = "UTC") -> Increment:
        """Count the usage files that no increment has counted, and record it; a run makes one increment only.

        Args:
            run: The id of the run, the same for each of its tries.
            table: The full name of the table that the increment is written to.
            files: The usage files that there are.
            by: The keys of ``usage_report``.
            timezone: The time zone of months, days and hours.

        Raises:
            ConfigurationError: Another run has written its increment to the table, or a name in ``by`` or the time zone
                is unknown.
            StorageError: A usage file or a record cannot be read, or the record cannot be written.
        """
        read_period(timezone=timezone)  # checks it
        while True:
            existing = self._read()
            for stored in existing:
                if stored.record.run == run:
                    return _increment(stored)
                if stored.record.table == table:
                    raise _refuse_table(table, stored)
            record = _Record(
                run=run, table=table, by=by, timezone=timezone, open_parts=files.open_parts, sizes_bytes={}
            )
            stored = _count(existing, record, files)
            if self._store.create(_name(stored.number), _to_bytes(stored)):
                return _increment(stored)

    def _read(self) -> list[_Stored]:
        names = self._store.names(_FOLDER)
        for number, name in enumerate(names, 1):
            if f"{_FOLDER}/{name}" != _name(number):
                raise StorageError(f"{self._store.describe(_name(number))} is missing", hint=_HINT)
        with DaemonExecutor(FILE_READERS, "increments") as readers:
            return list(readers.map(self._read_record, range(1, len(names) + 1)))

    def _read_record(self, number: int) -> _Stored:
        location = self._store.describe(_name(number))
        data = self._store.read(_name(number))
        if data is None:
            raise StorageError(f"{location} is missing", hint=_HINT)
        with storage_errors(f"reading {location}", Exception, hint=_HINT):
            record = _DECODER.decode(pl.read_parquet_metadata(io.BytesIO(data))[_METADATA])
            groups = pl.read_parquet(io.BytesIO(data))
        if record.format > _FORMAT:
            raise ConfigurationError(f"{location} is of a later version", hint="update tts-pipeline on this worker")
        return _Stored(number, record, groups)


# msgspec learns a type when it first meets it; at import there are no threads yet.
_DECODER = msgspec.json.Decoder(_Record)


def _name(number: int) -> str:
    return f"{_FOLDER}/{number:06}.parquet"


def _to_bytes(stored: _Stored) -> bytes:
    data = io.BytesIO()
    stored.groups.write_parquet(data, metadata={_METADATA: msgspec.json.encode(stored.record).decode()})
    return data.getvalue()


def _increment(stored: _Stored) -> Increment:
    record = stored.record
    keys = {key.name: key.value for key in read_keys(record.by, record.timezone)}
    report = sum_groups(stored.groups.lazy(), keys).drop("saved_rows", "saved").collect()
    return Increment(stored.number, report, record.open_parts, len(record.sizes_bytes))


def _count(existing: Sequence[_Stored], record: _Record, files: UsageFiles) -> _Stored:
    """Return the next record: the sums of files that are new or were replaced, less what was counted of the latter."""
    counted: dict[str, int] = {}
    for stored in existing:
        counted |= stored.record.sizes_bytes
    new = {file: size for file, size in files.sizes_bytes.items() if counted.get(file) != size}
    keys = {key.column: key.expression for key in read_keys(record.by, record.timezone)}
    rows = files.scan(new)
    with storage_errors("reading usage tables", Exception):  # Polars raises many kinds of errors
        groups = group_facts(facts_of(rows, [FILE]), {**keys, FILE: pl.col(FILE)}).collect(engine="streaming")
    foreign = set(groups[FILE]) - new.keys()
    if foreign:
        raise StorageError(f"a usage file holds rows of another journal, {min(foreign, key=str)!r}", hint=_USAGE_HINT)
    replaced = [file for file in new if file in counted]
    less = [_negative(stored.groups.filter(pl.col(FILE).is_in(replaced))) for stored in existing] if replaced else []
    complete = msgspec.structs.replace(record, open_parts=files.open_parts, sizes_bytes=new)
    return _Stored(len(existing) + 1, complete, pl.concat([groups, *less], how="diagonal_relaxed"))


def _negative(groups: pl.DataFrame) -> pl.DataFrame:
    """Return groups that take others away when both are added up."""
    kinds = groups.schema
    return groups.with_columns(
        (pl.lit(0).cast(kinds[name]) - pl.col(name)).cast(kinds[name]).alias(name) for name in MEASURES
    )


def _refuse_table(table: str, stored: _Stored) -> ConfigurationError:
    return ConfigurationError(
        f"{table} already holds the increment of another run, {stored.record.run}",
        hint="let the table's name differ from run to run, such as bill-{{ ts_nodash }}.csv, or set mode='total'",
    )
