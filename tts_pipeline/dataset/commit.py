"""Commit a part: write its tables from its journals, in source order, then its marker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
from msgspec.structs import asdict

from tts_pipeline.dataset.active_part import PartRows
from tts_pipeline.dataset.claims import claim_name, claim_names
from tts_pipeline.dataset.existing_speech import (
    NO_SPEECH,
    ExistingSpeech,
    open_existing_speech,
    read_existing_speech,
    speech_name,
)
from tts_pipeline.dataset.names import file_names, part_name
from tts_pipeline.dataset.price_rows import distinct_prices
from tts_pipeline.dataset.speech_file import BlobReader, regroup, speech_columns, speech_writer, split_row_groups
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import (
    UsageFile,
    account_for_claims,
    commit_journal_usage,
    read_usage_file,
    usage_name,
)
from tts_pipeline.errors import StorageError
from tts_pipeline.models import UtteranceKey
from tts_pipeline.schema import REJECTS, arrow_fields, rejects_schema, speech_schema, to_table
from tts_pipeline.source.columns import ColumnRoles
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.json_files import json_bytes
from tts_pipeline.storage.parquet import size_and_hash, size_and_hash_at, write_tables
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.journal import SUFFIX, remove_journal
from tts_pipeline.wal.records import SpeechValues
from tts_pipeline.wal.replay import Replay, UtteranceRecord


@dataclass(slots=True)
class _MarkerDraft:
    """The contents of a marker, collected while the part's files are written."""

    totals: Totals = field(default_factory=Totals)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    voices: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    prices: list[dict[str, Any]] = field(default_factory=list)

    def add_existing(self, existing: ExistingSpeech) -> None:
        """Count the speech that is at the destination already."""
        self.totals.add(existing.totals)
        self.voices.update(existing.voices)
        self.languages.update(existing.languages)

    def add_speech(self, speeches: Sequence[SpeechValues]) -> None:
        """Count new speech."""
        self.voices.update(speech.voice or "" for speech in speeches)
        self.languages.update(speech.language or "" for speech in speeches)
        self.totals.speech += len(speeches)
        self.totals.audio_ms += sum(speech.duration_ms for speech in speeches)
        self.totals.reused += sum(speech.deduplicated_from is not None for speech in speeches)


class PartTables(NamedTuple):
    """The speech and the rejects of a part, each in source order."""

    speech: pa.Table
    rejects: pa.Table


@dataclass(frozen=True, slots=True)
class _PartContents:
    """The contents of a part: its rows, their records in journals, and its existing speech."""

    rows: PartRows
    records: Mapping[UtteranceKey, UtteranceRecord]
    existing: ExistingSpeech

    def divide(self) -> tuple[list[int], list[int]]:
        """Return the indices of the rows that are speech, and of those that are rejected."""
        speech_rows, reject_rows = list[int](), list[int]()
        for index, key in enumerate(self.rows.keys):
            is_existing = key in self.existing.row_indices
            is_speech = is_existing or _finished_record(self.records, key).speech is not None
            (speech_rows if is_speech else reject_rows).append(index)
        return speech_rows, reject_rows

    def new_row_bytes(self) -> list[int]:
        """Return the size of each row, if it is new speech: its audio and its source columns."""
        audio = [self.records[key].audio if key in self.records else None for key in self.rows.keys]
        input_bytes = self.rows.inputs.row_bytes
        return [size + (blob.length if blob else 0) for size, blob in zip(input_bytes, audio, strict=True)]

    def new_speech(self, speech_rows: Sequence[int]) -> list[SpeechValues]:
        """Return the speech among these rows that does not exist yet."""
        new_keys = (key for key in map(self.rows.keys.__getitem__, speech_rows) if key not in self.existing.row_indices)
        return [speech for speech in (self.records[key].speech for key in new_keys) if speech is not None]


class PartCommitter:
    """Commits the parts of one dataset.

    The fence raises a StorageError when another process may publish the same files. ``commit_part`` calls it before
    each file; other methods write only usage files, which two processes never share.
    """

    def __init__(
        self,
        store: Store,
        roles: ColumnRoles,
        tag_columns: Mapping[str, str] | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._roles = roles
        self._tag_columns = dict(tag_columns or {})
        self._fence = fence
        self._speech_schema = speech_schema([field for _, field in roles.passthrough])
        passthrough_columns = [source for source, _ in roles.passthrough]
        self._input_columns = list(dict.fromkeys([roles.columns.text, *passthrough_columns]))
        self._rejects_schema = rejects_schema(roles.input_schema)

    def commit_part(self, rows: PartRows, replays: Sequence[Replay]) -> Totals:
        """Publish a part whose rows are all speech or rejected; return its totals. Blocking; safe to repeat.

        The replays are those of all its journals on this machine, oldest first.

        Raises:
            StorageError: The destination failed; nothing is lost, and the caller may publish again.
        """
        part = _PartContents(rows, _merge_records(replays), read_existing_speech(self._store, rows))
        draft = _MarkerDraft(Totals(rows=len(rows.keys)))
        self._fence()  # before usage, too: another process's marker may hold the hash of the present file
        self._add_usage(rows, draft, self.commit_usage(rows, replays))
        speech_rows, reject_rows = part.divide()
        self._commit_rejects(part, reject_rows, draft)
        self._commit_speech(part, speech_rows, draft)
        self._write_marker(rows, replays, draft)
        self._remove_claims(rows.number, replays)
        return draft.totals

    def collect_part(self, rows: PartRows, replays: Sequence[Replay]) -> PartTables:
        """Return the tables of a part whose rows are all speech or rejected, without publishing it. Blocking.

        Raises:
            StorageError: A journal cannot be read; the caller may collect again.
        """
        part = _PartContents(rows, _merge_records(replays), NO_SPEECH)
        speech_rows, reject_rows = part.divide()
        return PartTables(
            pa.concat_tables([self._speech_schema.empty_table(), *self._speech_tables(part, speech_rows)]),
            pa.concat_tables([self._rejects_schema.empty_table(), *self._reject_tables(part, reject_rows)]),
        )

    def commit_usage(self, rows: PartRows, replays: Sequence[Replay]) -> dict[str, UsageFile | None]:
        """Publish the usage of journals that receive no more records; a published usage file stays as it is.

        Exception: another machine's guess about a journal that seemed lost is replaced by the journal's real usage.

        Returns:
            The facts of the usage files by name; None for a file that was not written.
        """
        tags, number = self._row_tags(rows), rows.number
        return {
            usage_name(number, replay.journal_id): commit_journal_usage(self._store, number, replay, tags)
            for replay in replays
        }

    def suspend_part(self, rows: PartRows, replays: Sequence[Replay]) -> None:
        """Publish the usage of a part that stays open, and remove its claims, which the usage now covers.

        Raises:
            StorageError: The destination failed; the journals still hold everything.
        """
        self.commit_usage(rows, replays)
        self._remove_claims(rows.number, replays)

    def account_for_lost_journals(self, part: int, local: Sequence[Replay]) -> None:
        """Write ``unknown`` usage, at the upper bound, for claims whose journal is neither local nor published."""
        account_for_claims(self._store, claim_names(self._store, part), {replay.journal_id for replay in local})

    def _remove_claims(self, part: int, replays: Sequence[Replay]) -> None:
        """Remove the claims of these journals, whose usage is published; other journals may still be spending."""
        for replay in replays:
            self._store.remove(claim_name(part, replay.journal_id))

    def _row_tags(self, rows: PartRows) -> dict[UtteranceKey, dict[str, str]]:
        if not self._tag_columns:
            return {}
        columns = list(dict.fromkeys(self._tag_columns.values()))
        column_values = RowReader(rows.inputs, columns).read(range(len(rows.keys))).to_pydict()
        values = {tag: column_values[column] for tag, column in self._tag_columns.items()}
        return {
            key: {tag: str(value[index]) for tag, value in values.items() if value[index] is not None}
            for index, key in enumerate(rows.keys)
        }

    def _add_usage(self, rows: PartRows, draft: _MarkerDraft, written: Mapping[str, UsageFile | None]) -> None:
        """Add up all usage files of the part; those of other machines and earlier runs are read."""
        for name in (f"usage/{file_name}" for file_name in file_names(self._store, "usage", f"{rows.name}-")):
            usage = written.get(name) or read_usage_file(self._store, name)
            if usage is not None:
                draft.files[name] = usage.size_and_hash
                draft.totals.add(usage.cost)
                draft.prices += usage.prices

    def _commit_rejects(self, part: _PartContents, reject_rows: Sequence[int], draft: _MarkerDraft) -> None:
        self._fence()
        name = f"rejects/{part.rows.name}.parquet"
        if not reject_rows:
            self._store.remove(name)  # the part may have been reopened for its rejects, which are all speech now
            return
        draft.totals.rejects = len(reject_rows)
        tables = self._reject_tables(part, reject_rows)
        is_new = not self._store.exists(name)
        draft.files[name] = write_tables(self._store, name, self._rejects_schema, tables, is_new=is_new)

    def _reject_tables(self, part: _PartContents, reject_rows: Sequence[int]) -> Iterator[pa.Table]:
        rows = part.rows
        reader = RowReader(rows.inputs)
        for group in split_row_groups(reject_rows, rows.inputs.row_bytes.__getitem__):
            values = [_reject_row(key, part.records[key]) for key in (rows.keys[index] for index in group)]
            own_columns = to_table(values, pa.schema(arrow_fields(REJECTS)))
            input_rows = reader.read(group)
            input_column = pa.StructArray.from_arrays(
                [column.combine_chunks() for column in input_rows.columns], fields=list(self._roles.input_schema)
            )
            yield pa.table([*own_columns.columns, input_column], schema=self._rejects_schema)

    def _commit_speech(self, part: _PartContents, speech_rows: Sequence[int], draft: _MarkerDraft) -> None:
        rows, existing = part.rows, part.existing
        if not speech_rows:
            return
        self._fence()
        name = speech_name(rows)
        if len(speech_rows) == len(existing.row_indices):  # no new speech: the file stays as it is
            with storage_errors(f"reading {self._store.describe(name)}", Exception), self._store.open(name) as file:
                draft.files[name] = size_and_hash(file)
        else:
            with self._store.stage(name, is_new=not existing.row_indices) as path:
                with speech_writer(path, self._speech_schema) as writer:
                    for table in regroup(self._speech_tables(part, speech_rows)):
                        writer.write_table(table)
                draft.files[name] = size_and_hash_at(path)
                self._fence()
        draft.add_existing(existing)
        draft.add_speech(part.new_speech(speech_rows))

    def _speech_tables(self, part: _PartContents, speech_rows: Sequence[int]) -> Iterator[pa.Table]:
        """Yield the speech in source order: existing rows from their file, new rows from the journals."""
        rows, existing = part.rows, part.existing
        with BlobReader() as blobs, ExitStack() as resources:
            reader = None
            if existing.row_indices:
                reader = resources.enter_context(open_existing_speech(self._store, rows, self._speech_schema))
            inputs, row_bytes = RowReader(rows.inputs, self._input_columns), part.new_row_bytes()
            for is_existing, run in groupby(speech_rows, lambda index: rows.keys[index] in existing.row_indices):
                indices = list(run)
                if is_existing and reader is not None:
                    first, last = (existing.row_indices[rows.keys[index]] for index in (indices[0], indices[-1]))
                    yield from reader.rows(first, last + 1)
                    continue
                for group in split_row_groups(indices, row_bytes.__getitem__):
                    yield self._speech_table(part, group, inputs.read(group), blobs)
                    if any(rows.inputs.row_bytes[index] for index in group):  # else Arrow keeps the freed memory
                        pa.default_memory_pool().release_unused()

    def _speech_table(
        self, part: _PartContents, indices: Sequence[int], input_rows: pa.Table, blobs: BlobReader
    ) -> pa.Table:
        keys = [part.rows.keys[index] for index in indices]
        texts = input_rows.column(self._roles.columns.text)
        if texts.type != pa.string():
            texts = texts.cast(pa.string())  # the first cast imports Arrow's functions, which takes half a second
        own_columns = speech_columns(keys, [part.records[key] for key in keys], texts, blobs)
        input_columns = [input_rows.column(source) for source, _ in self._roles.passthrough]
        return pa.table([*own_columns, *input_columns], schema=self._speech_schema)

    def _write_marker(self, rows: PartRows, replays: Sequence[Replay], draft: _MarkerDraft) -> None:
        marker = {
            "part": rows.number,
            "totals": draft.totals.to_json(),
            "voices": draft.voices,
            "languages": draft.languages,
            "prices": distinct_prices(draft.prices),
            "journals": [replay.journal_id for replay in replays],
            "files": draft.files,
        }
        self._fence()
        create_marker(self._store, marker_name(rows.number), json_bytes(marker, option=orjson.OPT_SORT_KEYS))


def marker_name(part: int) -> str:
    """Return the name of a part's marker; the part is done when this file exists."""
    return f"done/{part_name(part)}.json"


def create_marker(store: Store, name: str, data: bytes) -> None:
    """Write a marker only where none exists, if the destination can ensure that.

    Raises:
        StorageError: The destination holds a different marker of this name.
    """
    if not isinstance(store, FsspecStore) or not store.has_create_if_absent:
        store.write(name, data)
    elif not store.create(name, data) and store.read(name) != data:  # equal after a retry of a request that arrived
        raise store.conflict_error(name)


def finished_totals(replays: Sequence[Replay], existing: Collection[UtteranceKey] = ()) -> Totals:
    """Count the finished utterances in a part's journals, without those in ``existing`` and without usage."""
    totals = Totals()
    for record in (record for key, record in _merge_records(replays).items() if key not in existing):
        totals.rejects += record.reject is not None
        if record.speech is not None:
            totals.add_speech(record.speech.duration_ms, is_reused=record.speech.deduplicated_from is not None)
    return totals


def remove_journals(folder: Path, part: int, journal_ids: Sequence[str]) -> None:
    """Remove the local journals of a published part."""
    with storage_errors(f"removing journals in {folder}"):
        for journal_id in journal_ids:
            remove_journal(folder / f"{part_name(part)}-{journal_id}{SUFFIX}")


def _merge_records(replays: Sequence[Replay]) -> dict[UtteranceKey, UtteranceRecord]:
    """Return each utterance's final record: its speech, else the reject of the latest journal that has one."""
    merged: dict[UtteranceKey, UtteranceRecord] = {}
    for replay in replays:
        for key, record in replay.utterances.items():
            is_speech = key in merged and merged[key].speech is not None
            if record.speech is not None or key not in merged or (record.reject is not None and not is_speech):
                merged[key] = record
    return merged


def _finished_record(records: Mapping[UtteranceKey, UtteranceRecord], key: UtteranceKey) -> UtteranceRecord:
    record = records.get(key)
    if record is None or (record.speech is None and record.reject is None):
        raise StorageError(f"utterance {key[0]!r} is neither speech nor rejected", hint="run the job again")
    return record


def _reject_row(key: UtteranceKey, record: UtteranceRecord) -> dict[str, Any]:
    utterance_id, take = key
    identity = {"utterance_id": utterance_id, "take": take, "invocation_id": record.header.invocation_id}
    return {**(asdict(record.reject) if record.reject else {}), **identity}
