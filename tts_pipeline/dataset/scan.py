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

from tts_pipeline.dataset.repeated import Hashes, RequestHash
from tts_pipeline.dataset.replay import UtteranceKey
from tts_pipeline.dataset.row_reader import RowReader
from tts_pipeline.dataset.rows import TAKE, Layout, Voicing, parameter_values
from tts_pipeline.dataset.source import Source
from tts_pipeline.dataset.store import storage_errors
from tts_pipeline.errors import ConfigurationError

PARTITIONS = 64
PENDING_HASHES = 1_000_000
EXAMPLES = 5
_TAKES = 2**31
MAX_DISTINCT = 100_000
"""Distinct values of one parameter that are held at a time; beyond it they are checked and let go."""


def scan(source: Source, places: Sequence[int], voicing: Voicing, *, scratch: Path) -> Hashes:
    """Check ids, takes and parameter columns of all rows, and find requests that stand twice, in flat memory.

    Args:
        source: The rows.
        places: Which of them, ascending.
        voicing: Where ids and parameters are, and what is allowed.
        scratch: A local folder for hash partitions while it runs.

    Returns:
        The hashes (``RequestHash``) of the utterances that would be asked for in the same way as another one.

    Raises:
        ConfigurationError: An id is null or stands twice, with examples; a take fits no column of the tables; or
            values of a parameter are not allowed, each with its number of rows.
        StorageError: The source cannot be read, or the scratch folder cannot be written.
    """
    layout = voicing.layout
    counts: dict[str, Counter[Any]] = {name: Counter() for name in layout.parameter_columns()}
    with storage_errors(f"keeping hashes of ids in {scratch}"):
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=scratch, prefix="scan-") as folder:
            ids, requests = _Partitions(Path(folder), "ids"), _Partitions(Path(folder), "requests")
            request_hash = RequestHash(voicing)
            for table in _chunks(source, places, [*layout.naming_columns(), layout.columns.text]):
                _count(voicing, table, counts)
                _refuse_bad_takes(table, layout)
                if not layout.columns.generate_ids:
                    _refuse_null_ids(table, layout.columns.utterance_id)
                keys = layout.keys(table, [("", 0)] * table.num_rows)
                if not layout.columns.generate_ids:
                    ids.add(list(map(hash, keys)))
                with suppress(ConfigurationError):  # told below, with the numbers of all rows
                    requests.add(request_hash.of_rows(table, keys))
            doubled, repeated = ids.repeated(), requests.repeated()
    for name, counted in counts.items():
        voicing.check(name, counted)
    if len(doubled):
        _refuse_duplicates(source, places, voicing, set(doubled.tolist()))
    return repeated


def _chunks(source: Source, places: Sequence[int], columns: Sequence[str]) -> Iterator[pa.Table]:
    for piece in RowReader(source, list(dict.fromkeys(columns))).pieces(places):
        yield pa.Table.from_batches([piece])


def _count(voicing: Voicing, table: pa.Table, counts: dict[str, Counter[Any]]) -> None:
    for name, column in voicing.layout.parameter_columns().items():
        counts[name].update(parameter_values(table, column))
        if len(counts[name]) > MAX_DISTINCT:
            voicing.check(name, counts[name])
            counts[name].clear()


def _refuse_null_ids(table: pa.Table, column: str) -> None:
    nulls = table.column(column).null_count
    if nulls:
        raise ConfigurationError(
            f"column {column!r} for the id has null values", hint="fill them, or use --generate-ids to make ids"
        )


def _refuse_bad_takes(table: pa.Table, layout: Layout) -> None:
    column = layout.columns.parameters.get(TAKE)
    bad = [] if column is None else [v for v in table.column(column).to_pylist() if v and not -_TAKES <= v < _TAKES]
    if bad:
        raise ConfigurationError(
            f"column {column!r} for the take holds {bad[0]}, which is no 32-bit integer", hint="number the takes anew"
        )


class _Partitions:
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
        for pending, some in zip(self._pending, np.split(values[order], ends[:-1]), strict=True):
            pending.frombytes(some.tobytes())
        self._pending_hashes += len(values)
        if self._pending_hashes > PENDING_HASHES:
            self._flush()

    def _flush(self) -> None:
        for path, pending in zip(self._files, self._pending, strict=True):
            with path.open("ab") as file:
                pending.tofile(file)
            del pending[:]
        self._pending_hashes = 0

    def repeated(self) -> Hashes:
        """Return the hashes that stand more than once: what they are of is equal, or (rarely) only has equal hashes."""
        found = []
        for path, pending in zip(self._files, self._pending, strict=True):
            stored = np.fromfile(path, dtype=np.int64) if path.exists() else np.empty(0, dtype=np.int64)
            found.append(_repeated(np.concatenate([stored, np.array(pending, dtype=np.int64)])))
        return np.sort(np.concatenate(found))


def _repeated(hashes: npt.NDArray[np.int64]) -> Hashes:
    hashes.sort()
    again = hashes[1:][hashes[1:] == hashes[:-1]]
    once: Hashes = again[np.diff(again, prepend=again[:1] - 1) != 0]  # np.unique imports numpy.ma: 0.05 s
    return once


def _refuse_duplicates(source: Source, places: Sequence[int], voicing: Voicing, repeated: set[int]) -> None:
    seen: Counter[UtteranceKey] = Counter()
    for table in _chunks(source, places, voicing.layout.naming_columns()):
        keys = voicing.layout.keys(table, [("", 0)] * table.num_rows)
        seen.update(key for key in keys if hash(key) in repeated)
    doubled = [(key, count) for key, count in seen.items() if count > 1]
    if not doubled:
        return
    shown = ", ".join(f"{key[0]!r} ({count} rows)" for key, count in doubled[:EXAMPLES])
    more = f" and {len(doubled) - EXAMPLES} more" if len(doubled) > EXAMPLES else ""
    raise ConfigurationError(
        f"column {voicing.layout.columns.utterance_id!r} holds ids that stand more than once: {shown}{more}",
        hint="make them unique, use --generate-ids, or --column take=COLUMN for several readings of one id",
    )
