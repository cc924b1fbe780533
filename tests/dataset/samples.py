"""A small card, small sources, and parts whose utterances are said without any service."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.card import Card, Parameter
from tts_pipeline.config import InputColumns
from tts_pipeline.dataset.active_part import NO_PRIOR_STATE, ActivePart, PartRows, PriorState, Progress
from tts_pipeline.dataset.claim_high_water import BudgetPool
from tts_pipeline.dataset.commit import PartCommitter, remove_journals
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.part_journals import replay_part
from tts_pipeline.emulator.tone import tone
from tts_pipeline.models import Answer, Audio, Price, Reject, Speech, Usage, Utterance, Word
from tts_pipeline.source.columns import ColumnRoles, UtteranceMapper
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.spooled_rows import SpooledRows
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store
from tts_pipeline.text import billed_characters
from tts_pipeline.wal.journal import JournalWriter
from tts_pipeline.wal.replay import Replay

NOW_US = 1_760_000_000_000_000
PRICE = Price("list-1", "CNY", "list", per_10k_characters=Decimal("0.8"))
CARD = Card(
    service="local",
    model="qwen3-tts-flash",
    parameters={
        "voice": Parameter("voice", "string", required=True, choices=("Cherry", "Stella")),
        "language_type": Parameter("language_type", "string", choices=("Auto", "English", "German")),
        "speed": Parameter("speed", "number", minimum=Decimal("0.5"), maximum=Decimal(2), step=Decimal("0.1")),
        "stream": Parameter("stream", "boolean", in_body=False),
    },
    languages={"en": "English", "de": "German"},
    language_parameter="language_type",
    input_limit=600,
    billing="han_double",
    prices=(PRICE,),
)


def write_rows(path: Path, table: pa.Table | None = None, *, rows: int = 4) -> Path:
    """Write a source of ``id`` and ``text``, or of the given table."""
    if table is None:
        numbers = range(rows)
        ids = pa.array([f"r{n}" for n in numbers], pa.string())
        table = pa.table({"id": ids, "text": pa.array([f"Line {n}." for n in numbers], pa.string())})
    pq.write_table(table, path)
    return path


def utterance_mapper_of(source: Source, columns: InputColumns = InputColumns(), **fixed: Any) -> UtteranceMapper:
    """Return how a source's rows become utterances; all are said by Cherry unless a column says otherwise."""
    return UtteranceMapper(ColumnRoles(columns, source.schema), CARD, {"voice": "Cherry", **fixed})


def settlement_of(attempt: Attempt, outcome: Outcome = Outcome.SUCCEEDED, **given: Any) -> Settlement:
    """Return how an attempt ended: as it was counted, unless given otherwise."""
    is_success = outcome is Outcome.SUCCEEDED
    characters_billed = attempt.characters_counted if is_success else 0
    values: dict[str, Any] = {
        "attempt_id": attempt.attempt_id,
        "outcome": outcome,
        "finished_at_us": attempt.started_at_us + 200_000,
        "latency_ms": 200,
        "http_status": 200 if is_success else 400,
        "error_code": None if is_success else "InvalidParameter",
        "request_id": f"q-{attempt.attempt_id}",
        "usage": Usage(characters_reported=characters_billed) if is_success else Usage(),
        "characters_billed": characters_billed,
        "characters_upper_bound": characters_billed,
        "cost": cost_of(characters_billed),
        "cost_upper_bound": cost_of(characters_billed),
    }
    return Settlement(**{**values, **given})


def cost_of(characters: int) -> Decimal:
    """Return what characters cost at the card's price."""
    return (Decimal("0.8") * characters / 10_000).quantize(Decimal("1e-9"))


def audio_of(text: str, *, audio_bytes: int | None = None) -> Audio:
    """Return audio that only this text has."""
    data = tone(text, tone_bytes=400) if audio_bytes is None else bytes(audio_bytes)
    return Audio(data, "wav", 24_000, 1, duration_ms=8)


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
    """

    folder: Path
    source: Source
    store: Store
    columns: InputColumns = InputColumns()
    part_rows: int = 500
    tags: dict[str, str] = field(default_factory=dict)
    tag_columns: dict[str, str] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=lambda: {PRICE.price_id: PRICE})
    invocations: int = 0
    attempts: int = 0

    @classmethod
    def of(cls, folder: Path, store: Store, table: pa.Table | None = None, *, rows: int = 4, **given: Any) -> Bench:
        """Make a bench with a source of the given table, or of so many rows."""
        return cls(folder, open_source(write_rows(folder / "source.parquet", table, rows=rows)), store, **given)

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
    def publisher(self) -> PartCommitter:
        """Writes the parts."""
        return PartCommitter(self.store, self.mapper.roles, self.tag_columns)

    def rows(self, number: int = 0) -> PartRows:
        """Read a part's rows."""
        first = number * self.part_rows
        places = range(first, min(first + self.part_rows, self.source.rows))
        table = RowReader(self.source).read(places)
        keys = self.mapper.roles.keys(table, [self.source.locate(place) for place in places])
        return PartRows(number, SpooledRows.from_table(table), keys, self.mapper.utterances(table, keys))

    def replays(self, number: int = 0) -> list[Replay]:
        """Read a part's journals back."""
        return replay_part(self.store, self.journals, number, "fingerprint")

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
            dataset_fingerprint="fingerprint",
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
            own_writer = writer or JournalWriter(asyncio.get_running_loop().call_soon_threadsafe)
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
            price_id=PRICE.price_id if self.prices else None,
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

    async def say(self, part: ActivePart, utterance: Utterance, **given: Any) -> Speech:
        """Buy an utterance's audio and keep its speech."""
        audio = given.pop("audio", None)
        attempt, answer = await self.buy(part, utterance, audio=audio)
        speech = speech_of(utterance, answer.audio, attempt.characters_counted, **given)
        await part.record_speech(speech)
        return speech

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
        self.publisher.commit_part(self.rows(number), replays)
        remove_journals(self.journals, number, [one.journal_id for one in replays])

    def read(self, name: str) -> pa.Table:
        """Read a file of the destination as a table."""
        data = self.store.read(name)
        assert data is not None, name
        return pq.read_table(pa.BufferReader(data))

    def usage(self, number: int = 0) -> list[dict[str, Any]]:
        """Read all usage of a part."""
        names = self.store.names("usage", f"part-{number:05}-")
        return [row for name in names for row in self.read(f"usage/{name}").to_pylist()]


def speech_of(utterance: Utterance, audio: Audio, characters: int, **given: Any) -> Speech:
    """Return an utterance's speech, of one attempt, as a client makes it."""
    values: dict[str, Any] = {
        "utterance": utterance,
        "audio": audio,
        "words": (Word(utterance.text, 0, audio.duration_ms, 0, len(utterance.text)),),
        "language": "en",
        "segments": 1,
        "attempts": 1,
        "request_id": "q",
        "request_key": hashlib.sha256(utterance.text.encode()).hexdigest(),
        "usage": Usage(characters),
        "characters_counted": characters,
        "characters_billed": characters,
        "cost": cost_of(characters),
        "currency": "CNY",
        "quality": (),
        "created_at_us": NOW_US,
    }
    return Speech(**{**values, **given})
