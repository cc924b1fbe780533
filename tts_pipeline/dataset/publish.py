"""Publishing: from the journals of a part to its tables, in source order, then the marker; a function of files only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from tts_pipeline.dataset.claims import claim_name, claim_names
from tts_pipeline.dataset.journal import SUFFIX, remove_journal
from tts_pipeline.dataset.json_files import json_bytes
from tts_pipeline.dataset.names import file_names, part_name
from tts_pipeline.dataset.parts import PartRows
from tts_pipeline.dataset.price_rows import distinct, prices_of
from tts_pipeline.dataset.replay import Key, Replay, Said
from tts_pipeline.dataset.row_reader import RowReader
from tts_pipeline.dataset.rows import Layout
from tts_pipeline.dataset.speech_file import BlobReader, SpeechWriter, columns_of, regrouped, row_groups
from tts_pipeline.dataset.standing import Standing, speech_name, standing_of, standing_reader
from tts_pipeline.dataset.store import FsspecStore, Store, storage_errors
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import (
    account_for_claims,
    facts_of,
    facts_of_path,
    publish_usage_of,
    usage_totals,
    write_tables,
)
from tts_pipeline.errors import StorageError
from tts_pipeline.schema import REJECTS, fields, rejects_schema, speech_schema, table_of


@dataclass(slots=True)
class _Made:
    """What has been written of a part so far: for the marker."""

    totals: Totals = field(default_factory=Totals)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    voices: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    prices: list[dict[str, Any]] = field(default_factory=list)

    def count(self, standing: Standing) -> None:
        """Count speech that stands already."""
        self.totals.add(standing.totals)
        self.voices.update(standing.voices)
        self.languages.update(standing.languages)

    def count_one(self, values: Mapping[str, Any]) -> None:
        """Count one new speech."""
        self.voices[values["voice"] or ""] += 1
        self.languages[values["language"] or ""] += 1
        self.totals.speech += 1
        self.totals.audio_ms += values["duration_ms"]
        self.totals.reused += values["deduplicated_from"] is not None


@dataclass(frozen=True, slots=True)
class _Part:
    """A part on its way to the destination."""

    rows: PartRows
    replays: Sequence[Replay]
    said: Mapping[Key, Said]
    standing: Standing

    def bytes_of(self, place: int) -> int:
        """Return what the row of a new speech has: its audio, and what came with it from the source."""
        audio = self.said[self.rows.keys[place]].audio
        return self.rows.inputs.row_bytes[place] + (0 if audio is None else audio.length)

    def is_speech(self, key: Key) -> bool:
        """Return whether an utterance is speech; else it is rejected."""
        return key in self.standing.places or _done(self.said, key).speech is not None


class Publisher:
    """Writes parts of one dataset.

    Args:
        store: The destination.
        layout: The source's columns by their role.
        tag_columns: Tag -> source column that carries it row by row.
        fence: Raises a StorageError when others may publish what is published here; asked before each file but usage,
            which no two processes have in common.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        tag_columns: Mapping[str, str] | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._tag_columns = dict(tag_columns or {})
        self._fence = fence
        self._speech_schema = speech_schema([field for _, field in layout.passed_through])
        passed = [source for source, _ in layout.passed_through]
        self._input_columns = list(dict.fromkeys([layout.columns.text, *passed]))
        self._rejects_schema = rejects_schema(layout.input_schema)

    def publish(self, rows: PartRows, replays: Sequence[Replay]) -> Totals:
        """Publish a part whose rows are all speech or rejected. Blocking; harmless when done again.

        Args:
            rows: The part.
            replays: All its journals that are on this machine, oldest first.

        Returns:
            What the marker says of the part.

        Raises:
            StorageError: The destination failed; nothing is lost, publish again.
        """
        part = _Part(rows, replays, _merged(replays), standing_of(self._store, rows))
        made = _Made(Totals(rows=len(rows.keys)))
        self._fence()  # usage, too: the marker of another process may tell of that file as it is
        self.publish_usage(rows, replays)
        self._add_usage(rows, made)
        self._publish_rejects(part, made)
        self._publish_speech(part, made)
        self._mark(rows, replays, made)
        self._drop_claims(rows.number, replays)
        return made.totals

    def publish_usage(self, rows: PartRows, replays: Sequence[Replay]) -> None:
        """Publish the usage of journals that will not be written to any more; one already published is left alone.

        But what another machine guessed of a journal that it took for lost is replaced by the truth.
        """
        tags = self._row_tags(rows)
        for one in replays:
            publish_usage_of(self._store, rows.number, one, tags)

    def leave(self, rows: PartRows, replays: Sequence[Replay]) -> None:
        """Publish the usage of a part that stays open; its claims are then told in full by its usage files.

        Raises:
            StorageError: The destination failed; the journals still hold everything.
        """
        self.publish_usage(rows, replays)
        self._drop_claims(rows.number, replays)

    def account_for_lost(self, part: int, local: Sequence[Replay]) -> None:
        """Write ``unknown`` usage for claims whose journal is neither here nor published: the worst case is spent."""
        account_for_claims(self._store, claim_names(self._store, part), {one.journal_id for one in local})

    def _drop_claims(self, part: int, replays: Sequence[Replay]) -> None:
        """Remove the claims of journals whose usage is published; another's may still be spending."""
        for one in replays:
            self._store.remove(claim_name(part, one.journal_id))

    def _row_tags(self, rows: PartRows) -> dict[Key, dict[str, str]]:
        if not self._tag_columns:
            return {}
        columns = list(dict.fromkeys(self._tag_columns.values()))
        read = RowReader(rows.inputs, columns).read(range(len(rows.keys))).to_pydict()
        values = {tag: read[column] for tag, column in self._tag_columns.items()}
        return {
            key: {tag: str(value[place]) for tag, value in values.items() if value[place] is not None}
            for place, key in enumerate(rows.keys)
        }

    def _add_usage(self, rows: PartRows, made: _Made) -> None:
        """Add up every journal's usage file of the part, also those of other machines and earlier runs."""
        for short in file_names(self._store, "usage", f"{rows.name}-"):
            data = self._store.read(f"usage/{short}")
            if data is None:
                continue
            made.files[f"usage/{short}"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            made.totals.add(usage_totals(data, self._store.describe(f"usage/{short}")))
            with storage_errors(f"reading {self._store.describe(f'usage/{short}')}", Exception):
                made.prices += prices_of(data)

    def _publish_rejects(self, part: _Part, made: _Made) -> None:
        self._fence()
        rows, name = part.rows, f"rejects/{part.rows.name}.parquet"
        chosen = [place for place, key in enumerate(rows.keys) if not part.is_speech(key)]
        if not chosen:
            self._store.remove(name)  # of a part that was reopened for its rejects, all of which are speech now
            return
        made.totals.rejects = len(chosen)
        tables = self._reject_tables(part, chosen)
        is_new = not self._store.exists(name)
        made.files[name] = write_tables(self._store, name, self._rejects_schema, tables, is_new=is_new)

    def _reject_tables(self, part: _Part, chosen: Sequence[int]) -> Iterator[pa.Table]:
        rows = part.rows
        reader = RowReader(rows.inputs)
        for places in row_groups(chosen, rows.inputs.row_bytes.__getitem__):
            values = [_reject_row(key, part.said[key]) for key in (rows.keys[place] for place in places)]
            own = table_of(values, pa.schema(fields(REJECTS)))
            taken = reader.read(places)
            whole = pa.StructArray.from_arrays(
                [column.combine_chunks() for column in taken.columns], fields=list(self._layout.input_schema)
            )
            yield own.append_column(self._rejects_schema.field("input"), whole).cast(self._rejects_schema)

    def _publish_speech(self, part: _Part, made: _Made) -> None:
        rows, standing = part.rows, part.standing
        chosen = [place for place, key in enumerate(rows.keys) if part.is_speech(key)]
        if not chosen:
            return
        self._fence()
        name = speech_name(rows)
        if len(chosen) == len(standing.places):  # nothing is new: the file stays as it is
            with storage_errors(f"reading {self._store.describe(name)}", Exception), self._store.open(name) as file:
                made.files[name] = facts_of(file)
        else:
            with self._store.stage(name, is_new=not standing.places) as path:
                with SpeechWriter(path, self._speech_schema) as writer:
                    for table in regrouped(self._speech_tables(part, chosen)):
                        writer.write(table)
                made.files[name] = facts_of_path(path)
                self._fence()
        made.count(standing)
        for key in (rows.keys[place] for place in chosen):
            if key not in standing.places:
                made.count_one(part.said[key].speech or {})

    def _speech_tables(self, part: _Part, chosen: Sequence[int]) -> Iterator[pa.Table]:
        """Yield the speech in source order: what stands from its file, what is new from the journals."""
        rows, standing = part.rows, part.standing
        with BlobReader() as blobs, ExitStack() as held:
            reader = None
            if standing.places:
                reader = held.enter_context(standing_reader(self._store, rows, self._speech_schema))
            inputs = RowReader(rows.inputs, self._input_columns)
            for stands, run in groupby(chosen, lambda place: rows.keys[place] in standing.places):
                places = list(run)
                if stands and reader is not None:
                    first, last = (standing.places[rows.keys[place]] for place in (places[0], places[-1]))
                    yield from reader.rows(first, last + 1)
                    continue
                for group in row_groups(places, part.bytes_of):
                    yield self._speech_table(part, group, inputs.read(group), blobs)
                    if any(rows.inputs.row_bytes[place] for place in group):  # else Arrow keeps what it had for them
                        pa.default_memory_pool().release_unused()

    def _speech_table(self, part: _Part, places: Sequence[int], taken: pa.Table, blobs: BlobReader) -> pa.Table:
        keys = [part.rows.keys[place] for place in places]
        texts = taken.column(self._layout.columns.text).cast(pa.string())
        own = columns_of(keys, [part.said[key] for key in keys], texts, blobs)
        passed = [taken.column(source) for source, _ in self._layout.passed_through]
        return pa.table([*own, *passed], schema=self._speech_schema)

    def _mark(self, rows: PartRows, replays: Sequence[Replay], made: _Made) -> None:
        marker = {
            "part": rows.number,
            "totals": made.totals.to_json(),
            "voices": made.voices,
            "languages": made.languages,
            "prices": distinct(made.prices),
            "journals": [one.journal_id for one in replays],
            "files": made.files,
        }
        self._fence()
        put_marker(self._store, marker_name(rows.number), json_bytes(marker, option=orjson.OPT_SORT_KEYS))


def marker_name(part: int) -> str:
    """Return the name of a part's marker, whose being there means that the part is done."""
    return f"done/{part_name(part)}.json"


def put_marker(store: Store, name: str, data: bytes) -> None:
    """Write a marker where there is none, as far as the destination can make sure of that.

    Raises:
        StorageError: The destination failed, or another process has marked the part meanwhile.
    """
    if not isinstance(store, FsspecStore) or not store.creates:
        store.write(name, data)
    elif not store.create(name, data) and store.read(name) != data:  # a request may be sent again that had arrived
        raise store.taken(name)


def said_totals(replays: Sequence[Replay], standing: Collection[Key] = ()) -> Totals:
    """Count what journals hold that is finished; its usage is counted elsewhere.

    Args:
        replays: The journals of one part.
        standing: Utterances that are counted elsewhere, too.
    """
    totals = Totals()
    for said in (said for key, said in _merged(replays).items() if key not in standing):
        totals.speech += said.speech is not None
        totals.rejects += said.reject is not None
        if said.speech is not None:
            totals.audio_ms += said.speech["duration_ms"]
            totals.reused += said.speech["deduplicated_from"] is not None
    return totals


def remove_journals(folder: Path, part: int, journal_ids: Sequence[str]) -> None:
    """Remove journals of a part that is published."""
    with storage_errors(f"removing journals in {folder}"):
        for journal_id in journal_ids:
            remove_journal(folder / f"{part_name(part)}-{journal_id}{SUFFIX}")


def _merged(replays: Sequence[Replay]) -> dict[Key, Said]:
    """Return each utterance's last word: speech for good, else the reject of the latest journal that has one."""
    merged: dict[Key, Said] = {}
    for one in replays:
        for key, said in one.said.items():
            is_speech = key in merged and merged[key].speech is not None
            if said.speech is not None or key not in merged or (said.reject is not None and not is_speech):
                merged[key] = said
    return merged


def _done(said: Mapping[Key, Said], key: Key) -> Said:
    found = said.get(key)
    if found is None or (found.speech is None and found.reject is None):
        raise StorageError(f"utterance {key[0]!r} is neither speech nor rejected", hint="run the job again")
    return found


def _reject_row(key: Key, said: Said) -> dict[str, Any]:
    utterance_id, take = key
    said_of_it = {"utterance_id": utterance_id, "take": take, "invocation_id": said.header["invocation_id"]}
    return {**(said.reject or {}), **said_of_it}
