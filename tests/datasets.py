"""Datasets: made without a service, of any rows as a job writes them, and read back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tests.builders import (
    FLASH,
    FLASH_PRICE,
    NOW_US,
    audio_of,
    cost_of,
    descriptor_of,
    make_speech,
    settlement_of,
    write_rows,
)
from tts_pipeline.attempt import Attempt, Outcome
from tts_pipeline.config import InputColumns
from tts_pipeline.dataset.active_part import NO_PRIOR_STATE, ActivePart, PartRows, PriorState, Progress
from tts_pipeline.dataset.budget_pool import BudgetPool
from tts_pipeline.dataset.commit import PartCommitter, remove_journals
from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.part_journals import journal_paths, replay_part
from tts_pipeline.dataset.speech_file import speech_writer
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.tone import tone
from tts_pipeline.exports.index import INDEX_FILE
from tts_pipeline.models import Answer, Audio, Price, Reject, Speech, Usage, Utterance
from tts_pipeline.schema import speech_schema
from tts_pipeline.source.columns import ColumnRoles, UtteranceMapper
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.spooled_rows import SpooledRows
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.parquet import read_columns
from tts_pipeline.storage.store import Store
from tts_pipeline.text import billed_characters
from tts_pipeline.wal.journal import SUFFIX, JournalWriter
from tts_pipeline.wal.replay import Replay


def read_table(destination: Path, table: str) -> pa.Table:
    """Read one table of a dataset, all parts in order; an empty one where there is no file."""
    files = sorted((destination / table).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in files]) if files else pa.table({})


def spoken_ids(destination: Path) -> list[str]:
    """Return the ids that have speech, in the dataset's order."""
    ids: list[str] = read_table(destination, "speech")["utterance_id"].to_pylist()
    return ids


def check_bill(destination: Path, service: LocalService) -> None:
    """Every request is in usage, and what the service charged lies between what is confirmed and what is possible."""
    usage, bill = read_table(destination, "usage"), service.bill()
    assert usage.num_rows >= bill["received"]
    assert len(set(usage["attempt_id"].to_pylist())) == usage.num_rows
    billed, at_most = (sum(usage[f"characters_{name}"].to_pylist()) for name in ("billed", "upper_bound"))
    assert billed <= bill["characters"] <= at_most
    if "unknown" not in usage["outcome"].to_pylist():
        assert billed == bill["characters"]
        assert usage.num_rows == bill["received"]


def utterance_mapper_of(source: Source, columns: InputColumns = InputColumns(), **fixed: Any) -> UtteranceMapper:
    """Return how a source's rows become utterances; all are said by Cherry unless a column says otherwise."""
    return UtteranceMapper(ColumnRoles(columns, source.schema), FLASH, {"voice": "Cherry", **fixed})


async def keep(part: ActivePart, speech: Speech) -> None:
    """Record a speech; return when its row counts as finished."""
    remaining = part.remaining
    await part.record_speech(speech)
    while part.remaining == remaining:  # noqa: ASYNC110 (a part tells of its last row only)
        await asyncio.sleep(0)


@dataclass
class Bench:
    """A dataset without a service: its parts are opened, said and published by hand.

    Args:
        folder: For journals and locks.
        source: The rows.
        store: The destination.
        columns: Where in the source an utterance is found.
        part_rows: Rows in a part.
        tags: For the bill.
        tag_columns: For the bill, from columns.
        prices: By id.
        fingerprint: Of job and source, in the journals.
    """

    folder: Path
    source: Source
    store: Store
    columns: InputColumns = InputColumns()
    part_rows: int = 500
    tags: dict[str, str] = field(default_factory=dict)
    tag_columns: dict[str, str] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=lambda: {FLASH_PRICE.price_id: FLASH_PRICE})
    fingerprint: str = "fingerprint"
    invocations: int = 0
    attempts: int = 0

    @classmethod
    def of(cls, folder: Path, store: Store, table: pa.Table | None = None, *, rows: int = 4, **changes: Any) -> Bench:
        """Make a bench with a source of the given table, or of so many rows."""
        return cls(folder, open_source(write_rows(folder / "source.parquet", table, rows=rows)), store, **changes)

    @property
    def journals(self) -> Path:
        """Where the journals are."""
        return self.folder / "journals"

    @property
    def leases(self) -> Leases:
        """What this process may hold; at a local destination that is locks alone."""
        return Leases(LocalStore(self.folder), self.folder / "locks")

    @property
    def mapper(self) -> UtteranceMapper:
        """How rows become utterances."""
        return utterance_mapper_of(self.source, self.columns)

    @property
    def committer(self) -> PartCommitter:
        """Writes the parts."""
        return PartCommitter(self.store, self.mapper.roles, self.tag_columns)

    def journal_path(self, part: ActivePart) -> Path:
        """Return where a part's journal is, or would be."""
        return self.journals / f"{part.rows.name}-{part.journal_id}{SUFFIX}"

    def rows(self, number: int = 0) -> PartRows:
        """Read a part's rows."""
        first = number * self.part_rows
        places = range(first, min(first + self.part_rows, self.source.rows))
        table = RowReader(self.source).read(places)
        keys = self.mapper.roles.keys(table, [self.source.locate(place) for place in places])
        spooled = SpooledRows(table.schema)
        for batch in table.to_batches():
            spooled.add(batch)
        return PartRows(number, spooled, keys, self.mapper.utterances(table, keys))

    def replays(self, number: int = 0) -> list[Replay]:
        """Read a part's journals back."""
        return replay_part(self.store, self.journals, number, self.fingerprint)

    def invocation(self) -> Invocation:
        """Return a new execution."""
        self.invocations += 1
        return Invocation(
            invocation_id=f"invocation-{self.invocations}",
            service="local",
            model="qwen3-tts-flash",
            account="team",
            prices=self.prices,
            tags=self.tags,
            dataset_fingerprint=self.fingerprint,
        )

    @asynccontextmanager
    async def part(
        self,
        number: int = 0,
        progress: Progress | None = None,
        *,
        folder: Path | None = None,
        writer: JournalWriter | None = None,
        prior: PriorState = NO_PRIOR_STATE,
        pool: BudgetPool | None = None,
    ) -> AsyncIterator[ActivePart]:
        """Open a part as a run does, and let it go without publishing anything."""
        rows = self.rows(number)
        async with AsyncExitStack() as resources:
            resources.enter_context(FileLock(self.folder / "locks" / f"{rows.name}.lock"))
            part = ActivePart(rows, self.replays(number), self.invocation(), progress or Progress(), prior)
            resources.callback(part.close)
            loop = asyncio.get_running_loop()
            own_writer = writer or JournalWriter(loop.call_soon_threadsafe, call_soon=loop.call_soon)
            if writer is None:
                resources.push_async_callback(asyncio.to_thread, own_writer.close)
            if part.remaining:
                characters = sum(billed_characters(u.text, "han_double") for u in part.todo)
                part.begin(folder or self.journals, own_writer, self.store, characters, pool)
            yield part

    def attempt(self, utterance: Utterance, *, number: int = 1, segment: int = 0, bound: int | None = None) -> Attempt:
        """Describe the next request for an utterance."""
        self.attempts += 1
        counted = billed_characters(utterance.text, "han_double")
        return Attempt(
            attempt_id=f"a{self.attempts}",
            utterance_id=utterance.utterance_id,
            take=utterance.take,
            segment=segment,
            number=number,
            voice=utterance.voice,
            started_at_us=NOW_US + self.attempts,
            characters_counted=counted,
            characters_upper_bound=counted if bound is None else bound,
            price_id=FLASH_PRICE.price_id if self.prices else None,
            cost_upper_bound=cost_of(counted if bound is None else bound) if self.prices else None,
        )

    async def buy(
        self, part: ActivePart, utterance: Utterance, *, audio: Audio | None = None
    ) -> tuple[Attempt, Answer]:
        """Intend an attempt and settle it with an answer."""
        attempt = self.attempt(utterance)
        await part.intend(attempt, None)
        answer = Answer(0, audio or audio_of(utterance.text), usage=Usage(attempt.characters_counted), request_id="q")
        part.settle(settlement_of(attempt), answer)
        return attempt, answer

    async def say(self, part: ActivePart, utterance: Utterance, **changes: Any) -> Speech:
        """Buy an utterance's audio and keep its speech."""
        audio = changes.pop("audio", None)
        attempt, answer = await self.buy(part, utterance, audio=audio)
        speech = make_speech(utterance, answer.audio, attempt.characters_counted, **changes)
        await keep(part, speech)
        return speech

    def leave_open(self, rows: int | None = None, number: int = 0) -> Path:
        """Say a part's first rows (None: all of them), publish nothing, as a kill does; return the part's journal."""

        async def work() -> None:
            async with self.part(number) as part:
                for utterance in part.todo[:rows]:
                    await self.say(part, utterance)

        asyncio.run(work())
        return journal_paths(self.journals, number)[-1]

    async def refuse(self, part: ActivePart, utterance: Utterance) -> Reject:
        """Have an utterance refused by the service."""
        attempt = self.attempt(utterance)
        await part.intend(attempt, None)
        part.settle(settlement_of(attempt, Outcome.FAILED), None)
        reject = Reject(utterance, "permanent", "InvalidParameter", "refused (hint)", 1, Decimal(0), "CNY", NOW_US)
        await part.record_reject(reject)
        return reject

    def run(
        self, number: int = 0, *, refused: Sequence[str] = (), order: Callable[[Utterance], Any] | None = None
    ) -> None:
        """Say a whole part, in the given order, and publish it."""

        async def work() -> None:
            async with self.part(number) as part:
                for utterance in sorted(part.todo, key=order) if order else part.todo:
                    say = self.refuse if utterance.utterance_id in refused else self.say
                    await say(part, utterance)

        asyncio.run(work())
        self.publish(number)

    def publish(self, number: int = 0) -> None:
        """Publish a part from its journals, and remove them."""
        replays = self.replays(number)
        self.committer.commit_part(self.rows(number), replays)
        remove_journals(self.journals, number, [replay.journal_id for replay in replays])

    def read(self, name: str) -> pa.Table:
        """Read a file of the destination as a table."""
        data = self.store.read(name)
        assert data is not None, name
        return pq.read_table(pa.BufferReader(data))

    def usage(self, number: int = 0) -> list[dict[str, Any]]:
        """Read all usage of a part."""
        names = self.store.names("usage", f"part-{number:05}-")
        return [row for name in names for row in self.read(f"usage/{name}").to_pylist()]


RATE_HZ = 24_000
DATASET_JOB = {"model": "qwen3-tts-flash", "service": "local"}
CREATED_AT = datetime(2026, 11, 20, tzinfo=UTC)


def speech_row(utterance_id: str, *, text: str | None = None, **values: Any) -> dict[str, Any]:
    """Return a row of a speech table; its audio is a tone that only its text has."""
    line = f"Line {utterance_id}." if text is None else text
    data = values.pop("data", None) or tone(line, tone_bytes=4_800)
    return {
        "utterance_id": utterance_id,
        "take": 0,
        "text": line,
        "service": "local",
        "model": "qwen3-tts-flash",
        "voice": "Cherry",
        "language": "en",
        "audio": {"bytes": data, "path": "u.wav"},
        "audio_format": "wav",
        "sample_rate_hz": RATE_HZ,
        "channels": 1,
        "duration_ms": 100,
        "audio_sha256": hashlib.sha256(data).hexdigest(),
        "timestamps": [{"text": line, "start_ms": 10, "end_ms": 90, "text_start": 0, "text_end": len(line)}],
        "timestamps_source": "service",
        "segments": 1,
        "attempts": 1,
        "request_key": hashlib.sha256(line.encode()).hexdigest(),
        "characters_counted": len(line),
        "characters_billed": len(line),
        "cost": Decimal("0.001"),
        "currency": "CNY",
        "quality": [],
        "created_at": CREATED_AT,
        "invocation_id": "i",
        **values,
    }


def write_dataset(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    part_rows: int = 4,
    passed_through: Sequence[pa.Field] = (),
    parts_left: int = 0,
) -> Path:
    """Write a dataset of these rows, in two row groups for each part.

    Args:
        folder: Where.
        rows: Of the speech table.
        part_rows: Rows in a part.
        passed_through: The input's other columns.
        parts_left: Parts that are not done; without any, the dataset is finalized.
    """
    chunks = [rows[start : start + part_rows] for start in range(0, len(rows), part_rows)]
    write_parts(folder, chunks, part_rows=part_rows, passed_through=passed_through, parts_left=parts_left)
    return folder


def write_parts(
    folder: Path,
    chunks: Sequence[Sequence[Mapping[str, Any]]] | Iterator[Sequence[Mapping[str, Any]]],
    *,
    part_rows: int,
    passed_through: Sequence[pa.Field] = (),
    parts_left: int = 0,
) -> None:
    """Write a dataset part by part."""
    store, schema, parts = LocalStore(folder), speech_schema(passed_through), 0
    for number, rows in enumerate(chunks):
        parts += 1
        store.write(f"done/{part_name(number)}.json", b"{}", durable=False)
        with store.stage(f"speech/{part_name(number)}.parquet") as path, speech_writer(path, schema) as writer:
            half = -(-len(rows) // 2)
            for group in filter(None, (rows[:half], rows[half:])):
                writer.write_table(pa.Table.from_pylist([dict(row) for row in group], schema=schema))
    descriptor = descriptor_of((parts + parts_left) * part_rows, part_rows, DATASET_JOB)
    store.write("dataset.json", descriptor.to_json())
    store.remove(MANIFEST_FILE)
    if not parts_left:
        store.write(MANIFEST_FILE, orjson.dumps({"totals": {}, "parts": [{"part": part} for part in range(parts)]}))


def index_of(destination: Path) -> list[dict[str, Any]]:
    """Return the index of an export."""
    rows: list[dict[str, Any]] = read_columns(destination / INDEX_FILE).to_pylist()
    return rows


def files_below(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder by name, but what the export says of itself."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in contents.items() if name not in {INDEX_FILE, "export.json"}}


def ids_of(source: Source, row_indices: range | list[int] | None = None) -> list[int]:
    """Read the ids of a source's rows; None is all of them."""
    table = RowReader(source).read(range(source.rows) if row_indices is None else row_indices)
    ids: list[int] = table.column("id").to_pylist()
    return ids
