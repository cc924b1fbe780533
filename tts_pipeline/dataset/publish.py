"""Publishing: from the journals of a part to its tables, in source order, then the marker; a function of files only."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.config import ROW_GROUP_BYTES
from tts_pipeline.dataset.claims import Claim, PartLock, claim_name, claim_names, read_claim
from tts_pipeline.dataset.journal import SUFFIX
from tts_pipeline.dataset.parts import PartRows, part_name
from tts_pipeline.dataset.replay import Blob, Key, Replay, Said, replay
from tts_pipeline.dataset.rows import Layout
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Price
from tts_pipeline.schema import (
    REJECTS,
    SPEECH,
    column_of,
    fields,
    rejects_schema,
    speech_schema,
    table_of,
    usage_schema,
    usage_values,
)

AUDIO_LEAVES = ("audio.bytes", "audio.path")
"""Columns without dictionary, compression and statistics: they cost time and gain nothing on audio."""


@dataclass(slots=True)
class _Made:
    """What has been written of a part so far: for the marker."""

    totals: Totals = field(default_factory=Totals)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    voices: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)


class Publisher:
    """Writes parts of one dataset.

    Args:
        store: The destination.
        layout: The source's columns by their role.
        tag_columns: Tag -> source column that carries it row by row.
    """

    def __init__(self, store: Store, layout: Layout, tag_columns: Mapping[str, str] | None = None) -> None:
        self._store = store
        self._layout = layout
        self._tag_columns = dict(tag_columns or {})
        self._speech_schema = speech_schema([field for _, field in layout.passed_through])
        self._rejects_schema = rejects_schema(layout.schema)

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
        said = _merged(replays)
        made = _Made(Totals(rows=len(rows.keys)))
        self.publish_usage(rows, replays)
        self._add_usage(rows, made)
        self._publish_rejects(rows, said, replays, made)
        self._publish_speech(rows, said, replays, made)
        self._mark(rows, replays, made)
        self._drop_claims(rows.number, replays)
        return made.totals

    def publish_usage(self, rows: PartRows, replays: Sequence[Replay]) -> None:
        """Publish the usage of journals that will not be written to any more; one already published is left alone.

        But what another machine guessed of a journal that it took for lost is replaced by the truth.
        """
        published = set(self._store.names("usage", f"{rows.name}-"))
        tags = self._row_tags(rows)
        for one in replays:
            name = usage_name(rows.number, one.journal_id)
            known = name.removeprefix("usage/") in published and not self._is_guess(name, one.journal_id)
            if one.attempts and not known:
                self._write_table(name, table_of(_usage_rows(one, tags), usage_schema()))

    def leave(self, rows: PartRows, replays: Sequence[Replay]) -> None:
        """Publish the usage of a part that stays open; its claims are then told in full by its usage files.

        Raises:
            StorageError: The destination failed; the journals still hold everything.
        """
        self.publish_usage(rows, replays)
        self._drop_claims(rows.number, replays)

    def account_for_lost(self, part: int, local: Sequence[Replay]) -> None:
        """Write ``unknown`` usage for claims whose journal is neither here nor published: the worst case is spent."""
        here = {one.journal_id for one in local}
        published = set(self._store.names("usage", f"{part_name(part)}-"))
        for name in claim_names(self._store, part):
            claim = read_claim(self._store, name)
            if claim is None or claim.journal_id in here:
                continue
            usage = usage_name(part, claim.journal_id)
            if usage.removeprefix("usage/") not in published:
                self._write_table(usage, table_of([_lost_row(claim)], usage_schema()))
            self._store.remove(name)

    def _drop_claims(self, part: int, replays: Sequence[Replay]) -> None:
        """Remove the claims of journals whose usage is published; another's may still be spending."""
        for one in replays:
            self._store.remove(claim_name(part, one.journal_id))

    def _is_guess(self, name: str, journal_id: str) -> bool:
        data = self._store.read(name)
        if data is None:
            return False
        ids = pq.read_table(pa.BufferReader(data), columns=["attempt_id"], use_threads=False).column("attempt_id")
        return bool(ids.to_pylist() == [_guess_id(journal_id)])

    def _row_tags(self, rows: PartRows) -> dict[Key, dict[str, str]]:
        columns = {tag: rows.table.column(column).to_pylist() for tag, column in self._tag_columns.items()}
        if not columns:
            return {}
        return {
            key: {tag: str(values[place]) for tag, values in columns.items() if values[place] is not None}
            for place, key in enumerate(rows.keys)
        }

    def _add_usage(self, rows: PartRows, made: _Made) -> None:
        """Add up every journal's usage file of the part, also those of other machines and earlier runs."""
        for short in self._store.names("usage", f"{rows.name}-"):
            data = self._store.read(f"usage/{short}")
            if data is None:
                continue
            made.files[f"usage/{short}"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            made.totals.add(usage_totals(data))

    def _publish_rejects(
        self, rows: PartRows, said: Mapping[Key, Said], replays: Sequence[Replay], made: _Made
    ) -> None:
        chosen = [place for place, key in enumerate(rows.keys) if _done(said, key).reject is not None]
        if not chosen:
            return
        invocations = _invocations(replays, "reject")
        values = [
            {**_named(rows.keys[place]), **(said[rows.keys[place]].reject or {}), **invocations[rows.keys[place]]}
            for place in chosen
        ]
        own = table_of(values, pa.schema(fields(REJECTS)))
        taken = rows.table.take(pa.array(chosen)).combine_chunks()
        whole = pa.StructArray.from_arrays(
            [column.combine_chunks() for column in taken.columns], fields=list(taken.schema)
        )
        table = own.append_column(self._rejects_schema.field("input"), whole).cast(self._rejects_schema)
        made.totals.rejects = len(chosen)
        name = f"rejects/{rows.name}.parquet"
        made.files[name] = self._write_table(name, table)

    def _publish_speech(self, rows: PartRows, said: Mapping[Key, Said], replays: Sequence[Replay], made: _Made) -> None:
        chosen = [place for place, key in enumerate(rows.keys) if _done(said, key).speech is not None]
        if not chosen:
            return
        constants = _invocations(replays, "speech")
        name = f"speech/{rows.name}.parquet"
        with self._store.stage(name) as path:
            with _SpeechWriter(path, self._speech_schema) as writer, _BlobReader() as blobs:
                for places in _row_groups(chosen, rows.keys, said):
                    writer.write(self._speech_table(rows, places, said, constants, blobs))
            made.files[name] = _facts(path)
        for place in chosen:
            values = said[rows.keys[place]].speech or {}
            made.voices[values["voice"] or ""] += 1
            made.languages[values["language"] or ""] += 1
            made.totals.audio_ms += values["duration_ms"]
            made.totals.reused += values["deduplicated_from"] is not None
        made.totals.speech = len(chosen)

    def _speech_table(
        self,
        rows: PartRows,
        places: Sequence[int],
        said: Mapping[Key, Said],
        constants: Mapping[Key, Mapping[str, Any]],
        blobs: _BlobReader,
    ) -> pa.Table:
        texts = self._layout.texts(rows.table)
        values: list[dict[str, Any]] = []
        for place in places:
            key = rows.keys[place]
            one = said[key]
            assert one.speech is not None
            assert one.audio is not None
            data = blobs.read(one.audio)
            values.append(
                {
                    **one.speech,
                    **_named(key),
                    **constants[key],
                    "text": texts[place],
                    "audio": {"bytes": data, "path": audio_path(key, one.speech["audio_format"])},
                    "audio_sha256": hashlib.sha256(data).hexdigest(),
                }
            )
        own = [column_of([row.get(f.name) for row in values], f) for f in fields(SPEECH)]
        taken = rows.table.take(pa.array(places))
        passed = [taken.column(source) for source, _ in self._layout.passed_through]
        return pa.table([*own, *passed], schema=self._speech_schema)

    def _mark(self, rows: PartRows, replays: Sequence[Replay], made: _Made) -> None:
        marker = {
            "part": rows.number,
            "totals": made.totals.to_json(),
            "voices": made.voices,
            "languages": made.languages,
            "journals": [one.journal_id for one in replays],
            "files": made.files,
        }
        self._store.write(marker_name(rows.number), orjson.dumps(marker, option=orjson.OPT_SORT_KEYS))

    def _write_table(self, name: str, table: pa.Table) -> dict[str, Any]:
        with self._store.stage(name) as path:
            pq.write_table(table, path, compression="zstd")
            return _facts(path)


def marker_name(part: int) -> str:
    """Return the name of a part's marker, whose being there means that the part is done."""
    return f"done/{part_name(part)}.json"


def usage_name(part: int, journal_id: str) -> str:
    """Return the name of a journal's usage file."""
    return f"usage/{part_name(part)}-{journal_id}.parquet"


def usage_totals(data: bytes) -> Totals:
    """Add up a usage file."""
    names = ["outcome", "characters_billed", "characters_upper_bound", "cost", "cost_upper_bound", "currency"]
    table = pq.read_table(pa.BufferReader(data), columns=names, use_threads=False)
    totals = Totals(attempts=table.num_rows)
    totals.unknown_attempts = table.column("outcome").to_pylist().count("unknown")
    totals.characters_billed = sum(table.column("characters_billed").to_pylist())
    totals.characters_upper_bound = sum(table.column("characters_upper_bound").to_pylist())
    known = [currency for currency in table.column("currency").to_pylist() if currency is not None]
    totals.add_cost(_total(table, "cost"), _total(table, "cost_upper_bound"), known[0] if known else None)
    return totals


def said_totals(replays: Sequence[Replay]) -> Totals:
    """Count what journals hold that is finished; its usage is counted elsewhere."""
    totals = Totals()
    for said in _merged(replays).values():
        totals.speech += said.speech is not None
        totals.rejects += said.reject is not None
        if said.speech is not None:
            totals.audio_ms += said.speech["duration_ms"]
            totals.reused += said.speech["deduplicated_from"] is not None
    return totals


def _total(table: pa.Table, column: str) -> Decimal | None:
    known = [cost for cost in table.column(column).to_pylist() if cost is not None]
    return sum(known, Decimal(0)) if known else None


def audio_path(key: Key, audio_format: str) -> str:
    """Return the file name that stands beside an audio's bytes, without anything that a path could mean."""
    utterance_id, take = key
    safe = re.sub(r"[^\w.-]", "_", utterance_id).lstrip(".") or "_"
    return f"{safe}{f'-{take}' if take else ''}.{audio_format}"


def remove_journals(folder: Path, part: int, journal_ids: Sequence[str]) -> None:
    """Remove journals of a part that is published."""
    with storage_errors(f"removing journals in {folder}"):
        for journal_id in journal_ids:
            (folder / f"{part_name(part)}-{journal_id}{SUFFIX}").unlink(missing_ok=True)


def sweep(store: Store, journals: Path, locks: Path, done: Collection[int]) -> None:
    """Remove journals that a kill left behind after their part was marked as done.

    One stays whose usage is not published, or whose part another process has open.

    Args:
        store: The destination.
        journals: Where the journals are.
        locks: Where the locks are.
        done: Parts with a marker.
    """
    for path in sorted(journals.glob(f"part-*{SUFFIX}")):
        _, number, journal_id = path.stem.split("-")
        if int(number) not in done:
            continue
        with suppress(StorageError), PartLock(locks / f"{part_name(int(number))}.lock"):
            one = replay(path, check_payloads=False)
            usage = usage_name(int(number), journal_id).removeprefix("usage/")
            if one is None or not one.attempts or usage in store.names("usage", usage):
                store.remove(claim_name(int(number), journal_id))
                remove_journals(journals, int(number), [journal_id])


def _merged(replays: Sequence[Replay]) -> dict[Key, Said]:
    """Return each utterance's last word: a later journal's goes before an earlier one's."""
    merged: dict[Key, Said] = {}
    for one in replays:
        for key, said in one.said.items():
            if said.speech is not None or said.reject is not None or key not in merged:
                merged[key] = said
    return merged


def _done(said: Mapping[Key, Said], key: Key) -> Said:
    found = said.get(key)
    if found is None or (found.speech is None and found.reject is None):
        raise StorageError(f"utterance {key[0]!r} is neither speech nor rejected", hint="run the job again")
    return found


def _named(key: Key) -> dict[str, Any]:
    return {"utterance_id": key[0], "take": key[1]}


def _invocations(replays: Sequence[Replay], kind: str) -> dict[Key, dict[str, Any]]:
    """Return what the journal that finished an utterance says of itself."""
    names = ("invocation_id",) if kind == "reject" else ("invocation_id", "service", "model")
    found: dict[Key, dict[str, Any]] = {}
    for one in replays:
        constants = {name: one.header[name] for name in names}
        found |= {key: constants for key, said in one.said.items() if getattr(said, kind) is not None}
    return found


def _usage_rows(one: Replay, tags: Mapping[Key, Mapping[str, str]]) -> list[dict[str, Any]]:
    header = one.header
    constants = {name: header[name] for name in ("invocation_id", "journal_id", "account", "service", "model")}
    prices = {
        name: Price(price_id=name, currency=price["currency"], basis=price["basis"])
        for name, price in header["prices"].items()
    }
    return [
        {
            **usage_values(attempt, settlement, prices),
            **constants,
            "tags": list({**header["tags"], **tags.get((attempt.utterance_id, attempt.take), {})}.items()),
        }
        for attempt, settlement in one.attempts.values()
    ]


def _guess_id(journal_id: str) -> str:
    return f"claim-{journal_id}"


def _lost_row(claim: Claim) -> dict[str, Any]:
    return {
        "attempt_id": _guess_id(claim.journal_id),
        "invocation_id": claim.invocation_id,
        "journal_id": claim.journal_id,
        "account": claim.account,
        "service": claim.service,
        "model": claim.model,
        "started_at": claim.opened_at_us,
        "outcome": "unknown",
        "characters_counted": claim.characters_upper_bound,
        "characters_billed": 0,
        "characters_upper_bound": claim.characters_upper_bound,
        "cost": None if claim.cost_upper_bound is None else Decimal(0),
        "cost_upper_bound": claim.cost_upper_bound,
        "currency": claim.currency,
        "tags": [],
    }


def _row_groups(places: Sequence[int], keys: Sequence[Key], said: Mapping[Key, Said]) -> Iterator[list[int]]:
    group: list[int] = []
    group_bytes = 0
    for place in places:
        audio = said[keys[place]].audio
        length = audio.length if audio is not None else 0
        if group and group_bytes + length > ROW_GROUP_BYTES:
            yield group
            group, group_bytes = [], 0
        group.append(place)
        group_bytes += length
    if group:
        yield group


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


class _BlobReader:
    """Reads from journals by offset, each opened once."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def read(self, blob: Blob) -> bytes:
        descriptor = self._open.get(blob.path)
        if descriptor is None:
            descriptor = self._open[blob.path] = os.open(blob.path, os.O_RDONLY)
            self._held.callback(os.close, descriptor)
        return os.pread(descriptor, blob.length, blob.offset)


class _SpeechWriter:
    """A Parquet writer that leaves the audio as it is and compresses the rest; one table is one row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        plain = [leaf for field in schema for leaf in _leaves(field.name, field.type) if leaf not in AUDIO_LEAVES]
        self._writer = pq.ParquetWriter(
            path, schema, compression=dict.fromkeys(plain, "zstd"), use_dictionary=plain, write_statistics=plain
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """Yield the Parquet paths of a column's leaves."""
    if pa.types.is_struct(kind):
        for child in kind:
            yield from _leaves(f"{path}.{child.name}", child.type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    elif pa.types.is_map(kind):
        yield from _leaves(f"{path}.key_value.key", kind.key_type)
        yield from _leaves(f"{path}.key_value.value", kind.item_type)
    else:
        yield path
