"""One pass over the source before anything is sent: ids that stand twice, bad parameter values, repeated requests."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import UtteranceKey
from tts_pipeline.source.columns import TAKE, ColumnRoles, UtteranceMapper, parameter_values
from tts_pipeline.source.duplicates import Hashes, RequestHasher
from tts_pipeline.source.parquet_source import Source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.storage.store import storage_errors

PARTITIONS = 64
MAX_PENDING_HASHES = 1_000_000
MAX_EXAMPLES = 5
_TAKES = 2**31
MAX_DISTINCT = 100_000
"""Distinct values of one parameter that are held at a time; beyond it they are checked and let go."""


def scan_source(source: Source, row_indices: Sequence[int], mapper: UtteranceMapper, *, scratch: Path) -> Hashes:
    """Check ids, takes and parameter columns of all rows, and find requests that stand twice, in flat memory.

    Args:
        source: The rows.
        row_indices: Which of them, ascending.
        mapper: Where ids and parameters are, and what is allowed.
        scratch: A local folder for hash partitions while it runs.

    Returns:
        The hashes (``RequestHasher``) of the utterances that would be asked for in the same way as another one.

    Raises:
        ConfigurationError: An id is null or stands twice, with examples; a take fits no column of the tables; or
            values of a parameter are not allowed, each with its number of rows.
        StorageError: The source cannot be read, or the scratch folder cannot be written.
    """
    roles = mapper.roles
    counts: dict[str, Counter[Any]] = {name: Counter() for name in roles.parameter_columns()}
    with storage_errors(f"keeping hashes of ids in {scratch}"):
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=scratch, prefix="scan-") as folder:
            ids, requests = _HashPartitions(Path(folder), "ids"), _HashPartitions(Path(folder), "requests")
            hasher = RequestHasher(mapper)
            for table in _read_tables(source, row_indices, [*roles.id_and_parameter_columns(), roles.columns.text]):
                _count_values(mapper, table, counts)
                _refuse_bad_takes(table, roles)
                if not roles.columns.generate_ids:
                    _refuse_null_ids(table, roles.columns.utterance_id)
                keys = roles.keys(table, [("", 0)] * table.num_rows)
                if not roles.columns.generate_ids:
                    ids.add(list(map(hash, keys)))
                with suppress(ConfigurationError):  # told below, with the numbers of all rows
                    requests.add(hasher.hash_rows(table, keys))
            duplicate_ids, duplicate_requests = ids.duplicates(), requests.duplicates()
    for name, value_counts in counts.items():
        mapper.check_values(name, value_counts)
    if len(duplicate_ids):
        _refuse_duplicates(source, row_indices, mapper, set(duplicate_ids.tolist()))
    return duplicate_requests


def _read_tables(source: Source, row_indices: Sequence[int], columns: Sequence[str]) -> Iterator[pa.Table]:
    for batch in RowReader(source, list(dict.fromkeys(columns))).batches(row_indices):
        yield pa.Table.from_batches([batch])


def _count_values(mapper: UtteranceMapper, table: pa.Table, counts: dict[str, Counter[Any]]) -> None:
    for name, column in mapper.roles.parameter_columns().items():
        counts[name].update(parameter_values(table, column))
        if len(counts[name]) > MAX_DISTINCT:
            mapper.check_values(name, counts[name])
            counts[name].clear()


def _refuse_null_ids(table: pa.Table, column: str) -> None:
    nulls = table.column(column).null_count
    if nulls:
        raise ConfigurationError(
            f"column {column!r} for the id has null values", hint="fill them, or use --generate-ids to make ids"
        )


def _refuse_bad_takes(table: pa.Table, roles: ColumnRoles) -> None:
    column = roles.columns.parameters.get(TAKE)
    bad = [] if column is None else [v for v in table.column(column).to_pylist() if v and not -_TAKES <= v < _TAKES]
    if bad:
        raise ConfigurationError(
            f"column {column!r} for the take holds {bad[0]}, which is no 32-bit integer", hint="number the takes anew"
        )


class _HashPartitions:
    """64-bit hashes spread over files by their low bits, so that equal ones meet in one small file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._files = [folder / f"{name}-{number:02}" for number in range(PARTITIONS)]
        self._pending: list[array[int]] = [array("q") for _ in range(PARTITIONS)]
        self._pending_hashes = 0

    def add(self, hashes: Sequence[int] | Hashes) -> None:
        values = np.asarray(hashes, dtype=np.int64)
        partition = (values & (PARTITIONS - 1)).astype(np.uint8)  # sorted ten times as fast as 64 bits
        order = np.argsort(partition, kind="stable")
        ends = np.searchsorted(partition[order], np.arange(PARTITIONS), side="right")
        for pending, chunk in zip(self._pending, np.split(values[order], ends[:-1]), strict=True):
            pending.frombytes(chunk.tobytes())
        self._pending_hashes += len(values)
        if self._pending_hashes > MAX_PENDING_HASHES:
            self._spill()

    def _spill(self) -> None:
        for path, pending in zip(self._files, self._pending, strict=True):
            with path.open("ab") as file:
                pending.tofile(file)
            del pending[:]
        self._pending_hashes = 0

    def duplicates(self) -> Hashes:
        """Return the hashes that stand more than once: what they are of is equal, or (rarely) only has equal hashes."""
        duplicates = []
        for path, pending in zip(self._files, self._pending, strict=True):
            spilled = np.fromfile(path, dtype=np.int64) if path.exists() else np.empty(0, dtype=np.int64)
            duplicates.append(_duplicates(np.concatenate([spilled, np.array(pending, dtype=np.int64)])))
        return np.sort(np.concatenate(duplicates))


def _duplicates(hashes: npt.NDArray[np.int64]) -> Hashes:
    hashes.sort()
    repeats = hashes[1:][hashes[1:] == hashes[:-1]]
    unique: Hashes = repeats[np.diff(repeats, prepend=repeats[:1] - 1) != 0]  # np.unique imports numpy.ma: 0.05 s
    return unique


def _refuse_duplicates(
    source: Source, row_indices: Sequence[int], mapper: UtteranceMapper, suspect_hashes: set[int]
) -> None:
    counts: Counter[UtteranceKey] = Counter()
    for table in _read_tables(source, row_indices, mapper.roles.id_and_parameter_columns()):
        keys = mapper.roles.keys(table, [("", 0)] * table.num_rows)
        counts.update(key for key in keys if hash(key) in suspect_hashes)
    duplicates = [(key, count) for key, count in counts.items() if count > 1]
    if not duplicates:
        return
    examples = ", ".join(f"{key[0]!r} ({count} rows)" for key, count in duplicates[:MAX_EXAMPLES])
    more = f" and {len(duplicates) - MAX_EXAMPLES} more" if len(duplicates) > MAX_EXAMPLES else ""
    raise ConfigurationError(
        f"column {mapper.roles.columns.utterance_id!r} holds ids that stand more than once: {examples}{more}",
        hint="make them unique, use --generate-ids, or --column take=COLUMN for several readings of one id",
    )
