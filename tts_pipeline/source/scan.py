"""Scan the source before any request is sent: refuse duplicate ids and bad values, and find duplicate requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import UtteranceKey
from tts_pipeline.source.columns import TAKE, ColumnRoles, UtteranceMapper, parameter_values
from tts_pipeline.source.duplicates import RequestHasher
from tts_pipeline.source.parquet_source import Source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.storage.hash_partitions import HashPartitions, SortedHashes, are_among, duplicate_hashes

MAX_EXAMPLES = 5
_TAKES = 2**31
MAX_DISTINCT = 100_000
"""Distinct values of one parameter in memory, at most: above this number they are checked and released."""


def scan_source(
    source: Source, row_indices: Sequence[int], mapper: UtteranceMapper, *, scratch: Path | None
) -> SortedHashes:
    """Check ids, takes and parameters of all rows, and find duplicate requests, in constant memory.

    Return the hashes (``RequestHasher``) of the utterances whose request equals that of another utterance.
    Hashes that do not fit into memory go to the scratch folder; see ``scratch_folder``.

    Raises:
        ConfigurationError: An id is null or occurs twice (the error gives examples); a take is not a 32-bit integer;
            or values of a parameter are not allowed (the error counts the rows of each).
        StorageError: The source cannot be read, or the scratch folder cannot be written.
    """
    roles = mapper.roles
    counts: dict[str, Counter[Any]] = {name: Counter() for name in roles.parameter_columns()}
    hasher = RequestHasher(mapper)
    with HashPartitions(scratch) as ids, HashPartitions(scratch) as requests:
        for table in _read_tables(source, row_indices, _columns(roles)):
            _count_values(mapper, table, counts)
            _refuse_bad_takes(table, roles)
            if not roles.columns.generate_ids:
                _refuse_null_ids(table, roles.columns.utterance_id)
                ids.add(_id_hashes(table, roles))
            with suppress(ConfigurationError):  # ``check_values`` reports it below, with the counts of all rows
                requests.add(hasher.transient_hashes(table))
        duplicate_ids, suspects = duplicate_hashes(ids), duplicate_hashes(requests)
    for name, value_counts in counts.items():
        mapper.check_values(name, value_counts)
    if len(duplicate_ids):
        _refuse_duplicates(source, row_indices, mapper, duplicate_ids)
    return _repeated_requests(source, row_indices, hasher, suspects, scratch) if len(suspects) else suspects


def _repeated_requests(
    source: Source, row_indices: Sequence[int], hasher: RequestHasher, suspects: SortedHashes, scratch: Path | None
) -> SortedHashes:
    """Return the persistent hashes of repeated requests, from the rows whose transient hashes are ``suspects``."""
    with HashPartitions(scratch) as requests:
        for table in _read_tables(source, row_indices, _columns(hasher.roles)):
            rows = np.flatnonzero(are_among(suspects, hasher.transient_hashes(table)))
            requests.add(hasher.hash_rows(table.take(pa.array(rows))))
        return duplicate_hashes(requests)


def _columns(roles: ColumnRoles) -> list[str]:
    return [*roles.id_and_parameter_columns(), roles.columns.text]


def _id_hashes(table: pa.Table, roles: ColumnRoles) -> npt.NDArray[np.int64]:
    ids = table.column(roles.columns.utterance_id).to_pylist()
    takes = roles.takes(table)
    return np.fromiter(map(hash, ids if takes is None else zip(ids, takes, strict=True)), np.int64, len(ids))


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
            f"column {column!r} for the id has null values", hint="fill them, or use `generate_ids=True` to make ids"
        )


def _refuse_bad_takes(table: pa.Table, roles: ColumnRoles) -> None:
    column = roles.columns.parameters.get(TAKE)
    bad = [] if column is None else [v for v in table.column(column).to_pylist() if v and not -_TAKES <= v < _TAKES]
    if bad:
        raise ConfigurationError(
            f"column {column!r} for the take holds {bad[0]}, which is not a 32-bit integer",
            hint="number the takes anew",
        )


def _refuse_duplicates(
    source: Source, row_indices: Sequence[int], mapper: UtteranceMapper, suspects: SortedHashes
) -> None:
    counts: Counter[UtteranceKey] = Counter()
    for table in _read_tables(source, row_indices, mapper.roles.id_and_parameter_columns()):
        keys = mapper.roles.keys(table, [("", 0)] * table.num_rows)
        counts.update(compress(keys, are_among(suspects, _id_hashes(table, mapper.roles))))
    duplicates = [(key, count) for key, count in counts.items() if count > 1]
    if not duplicates:
        return
    examples = ", ".join(f"{key[0]!r} ({count} rows)" for key, count in duplicates[:MAX_EXAMPLES])
    more = f" and {len(duplicates) - MAX_EXAMPLES} more" if len(duplicates) > MAX_EXAMPLES else ""
    raise ConfigurationError(
        f"column {mapper.roles.columns.utterance_id!r} holds ids that occur more than once: {examples}{more}",
        hint="make them unique, use `generate_ids=True`, or `columns={'take': 'COLUMN'}` for several takes of one id",
    )
