"""Frozen configuration values. Every default of the package is written here, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

PART_ROWS = 500
"""Rows in a part, unless the source is so large that there would be more than ``MAX_PARTS``."""

MAX_PARTS = 2_000
"""A dataset has at most this many parts, so that listing it stays cheap."""

MAX_DESCRIPTOR_PARTS = 10**6
MAX_DESCRIPTOR_GENERATIONS = 10**9
"""A descriptor that tells of more parts or generations than these is damaged."""

MIN_OPEN_PARTS = 8
"""Parts that are worked on at one time, at least."""

MIN_OPEN_ROWS_PER_REQUEST = 32
"""Rows in open parts for each request in flight, at least. A part stays open until its slowest answer has come."""

ROW_GROUP_BYTES = 16 * 1024 * 1024
"""Audio in one Parquet row group of the speech table, at most (one larger row is a group of its own)."""

SLICE_ROWS = 4_096
"""Rows that are read from Parquet at one time, at most."""

SLICE_BYTES = 8 * 1024 * 1024
"""What such rows come to, decoded, as their forerunners tell (one larger row is a slice of its own)."""

UNEVEN_SLICE_BYTES = 8 * SLICE_BYTES
"""What they come to at most where rows are of very different sizes, as the longest values and fullest pages tell."""

MAX_PAGE_BYTES = 1024 * 1024 * 1024
"""The largest Parquet page that is read. A page is unpacked whole, so that reading takes its memory, and as much again
as it is long in the file. Usual are 1 MB; what holds 1,000 values of 100 kB has 100 MB where pyarrow wrote it."""

MAX_FOOTER_BYTES = 64 * 1024 * 1024
"""The largest Parquet footer that is read: what tells of some 500,000 column chunks."""

MAX_EXPANSION_RATIO = 1_000
"""A Parquet file whose columns are more than so many times as large as the file, when read, is refused: one value that
200,000 rows share by a dictionary is 200 GB in a dataset. Text is unpacked to 20 times its size at most."""

EXPANSION_EXEMPT_BYTES = 1024 * 1024 * 1024
"""A Parquet file whose columns are no larger than this, when read, is never refused for ``MAX_EXPANSION_RATIO``."""

OPEN_INPUT_BYTES = 64 * 1024 * 1024
"""Rows of the source that are in memory while their parts are open, about; what is more waits in a file."""

OPEN_TEXT_BYTES = 64 * 1024 * 1024
"""Texts in open parts beyond which no further part is opened."""

RESERVE_BYTES_PER_REQUEST = 1024 * 1024
"""Space held free on the journals' disk for each attempt in flight: about 20 seconds of speech, as a mean of all."""

SHIP_EVERY_S = 1.0
"""How often the journals of open parts go to a destination that outlives this machine, where no request waits for it:
a slow answer may be the last one for a while."""

SHIP_TIMEOUT_S = 60.0
"""How long requests wait for a destination that takes no journals, before the run ends."""

SHIP_CONCURRENCY = 8
"""Journals that go there at one time."""

LEASE_S = 60.0
"""How long the parts of a run that says nothing any more stay its own, where machines meet at a destination."""

MAX_LEASE_S = 3_600.0
"""The longest: whoever goes on with what a dead machine left waits one and a half times as long."""

JOURNAL_CHUNK_BYTES = 4 * 1024 * 1024
"""A journal goes there in pieces of this size at most."""

MAX_TEXT_CHARACTERS = 100_000
"""The longest text of one utterance: an hour and a half of English, or six hours of Chinese, which are 1 GB as WAV. A
longer one is refused before it is looked at: cutting it would take a second for each million characters."""

MAX_AUDIO_BYTES = 256 * 1024 * 1024
"""An answer larger than this is refused, so that an endless body cannot fill the memory."""

MAX_CLIP_S = 1_800.0
"""The longest clip that one answer may hold. The longest input that a card takes is 4,096 characters: of English, at a
quarter of the usual speed, 17 minutes; of Chinese, at the usual one, 16 (``audio/pace``)."""

TEXT_BYTES_PER_S = 64_000
"""An answer that is text (JSON, events) may be this long for each second of ``MAX_CLIP_S``: base64 of 16-bit samples at
24 kHz, which the models speak at."""

MAX_JSON_VALUES = 1_000_000
"""JSON values and lines in one answer, at most: each becomes an object of about 100 bytes. A minute of speech with the
times of all its characters has about 10,000."""

MIN_SAMPLE_RATE_HZ = 4_000
"""Half of what a telephone has, and below every rate that MP3, AAC and Opus know."""

MAX_SAMPLE_RATE_HZ = 192_000
"""The highest rate of studio recorders."""

MAX_SERVICE_SAMPLE_RATE_HZ = 48_000
"""The highest rate that services speak at."""

PCM_SAMPLE_RATE_HZ = 24_000
"""What the models speak at, where neither an answer nor its request tells the rate of headerless samples."""

MAX_CHANNELS = 8
"""What every container here can carry; speech has one or two."""

PLAUSIBLE_RATIO = 4
"""A service that reports more than this many times what we count, or less than this part of it, is not believed."""

MAX_HEADER_BYTES = 64 * 1024
"""The longest header, or status line, of an answer."""

MAX_HEAD_BYTES = 2 * MAX_HEADER_BYTES
"""The longest head of an answer, and whatever else comes in succession that is no body: trailers, chunk extensions."""

EXCHANGE_TIMEOUT_FACTOR = 10
"""An exchange that is never silent for ``timeout_s``, and never over, is given up after this many times that."""

CONNECTION_PROBATION_S = 0.5
"""How long a service's connections must have been silent after an answer before one is used for a second request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard the service is used and how long we are patient with it.

    Args:
        max_concurrency: Attempts in flight at one time.
        requests_per_minute: A smooth rate; None is no limit of ours.
        characters_per_minute: A smooth rate of counted characters; None is no limit of ours.
        max_attempts: Attempts of one segment that count (a 429 does not) before the row is a reject.
        timeout_s: The longest silence of the service within an attempt; ten times that is the longest attempt, from the
            connection to the last byte, and the longest fetch of its audio.
        connect_timeout_s: The longest wait for a connection.
        max_pause_s: A pause that the service asks for beyond this stops the run (exit 5).
        max_outage_s: An outage beyond this stops the run (exit 5).
        stop_grace_s: How long an orderly stop waits for answers that are already paid for.
        retry_wait_s: The first wait before a row's own retry; doubles, with full jitter.
        retry_wait_max_s: The longest such wait.
    """

    max_concurrency: int = 16
    requests_per_minute: float | None = None
    characters_per_minute: float | None = None
    max_attempts: int = 5
    timeout_s: float = 120.0
    connect_timeout_s: float = 10.0
    max_pause_s: float = 3_600.0
    max_outage_s: float = 900.0
    stop_grace_s: float = 3.0
    retry_wait_s: float = 0.5
    retry_wait_max_s: float = 20.0


@dataclass(frozen=True, slots=True)
class BudgetCap:
    """The most that a job may spend, counted over all its invocations; what is unknown counts at its worst.

    Args:
        max_cost: Money, more than 0; None is no cap.
        currency: ISO 4217, of ``max_cost``; must be that of the model's price. None only without ``max_cost``.
        max_characters: As billed, 1 or more; None is no cap.
    """

    max_cost: Decimal | None = None
    currency: str | None = None
    max_characters: int | None = None


AS_RECEIVED = "as-received"
"""The audio format that leaves the bytes as they came."""


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """What the dataset's audio is.

    Args:
        format: ``as-received``, or the format every speech is converted to.
        sample_rate_hz: Resampled to this; None keeps what was received.
        pause_ms: Silence between the segments of a long text, about what a reader leaves between two sentences.
    """

    format: str = AS_RECEIVED
    sample_rate_hz: int | None = None
    pause_ms: int = 300


UnspeakableAction = Literal["keep", "reject"]
"""What is done about a text without anything to say: sent all the same, or refused before money."""

UNSPEAKABLE: UnspeakableAction = "reject"

QualityAction = Literal["keep", "retry", "reject"]


@dataclass(frozen=True, slots=True)
class QualityPolicy:
    """What is done about audio that a quality flag was raised for.

    ``keep`` keeps it, flag and all. ``retry`` buys it again, at most ``max_retakes`` times, and keeps the best; audio
    that is then still ``empty`` or ``undecodable`` is rejected. ``reject`` gives the utterance up at once.

    Args:
        actions: By flag; one that is not named here is kept.
        max_retakes: Additional purchases of one segment, all of them on the bill.
    """

    actions: Mapping[str, QualityAction] = field(default_factory=lambda: {"empty": "retry", "undecodable": "retry"})
    max_retakes: int = 2


@dataclass(frozen=True, slots=True)
class InputColumns:
    """Where in the source an utterance is found.

    Args:
        text: The column of the text (string).
        utterance_id: The column of the id (string or integer); ignored with ``generate_ids``.
        generate_ids: Make ids from the file and the row instead.
        parameters: Parameter -> column that carries it row by row; also ``take`` and ``stream``.
        rename: Input column -> its name in the speech table.
        hive: Whether folders such as ``speaker=Cherry`` are columns.
        drop: Input columns that are not read at all.
    """

    text: str = "text"
    utterance_id: str = "id"
    generate_ids: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    hive: bool = True
    drop: Sequence[str] = ()

    @classmethod
    def from_arguments(
        cls,
        columns: Mapping[str, str] | InputColumns | None,
        *,
        text: str | None = None,
        utterance_id: str | None = None,
        hive: bool = True,
        drop: Sequence[str] = (),
    ) -> InputColumns:
        """Combine the arguments that name columns, which every public function takes.

        Args:
            columns: Parameter -> column, or all of it.
            text: The column of the text; None is that of ``columns``.
            utterance_id: The column of the id; None is that of ``columns``.
            hive: Whether folders are columns; False in either place is no.
            drop: Columns that are not read, beside those of ``columns``.
        """
        base = columns if isinstance(columns, InputColumns) else cls(parameters=columns or {})
        return replace(
            base,
            text=base.text if text is None else text,
            utterance_id=base.utterance_id if utterance_id is None else utterance_id,
            generate_ids=base.generate_ids and utterance_id is None,
            hive=base.hive and hive,
            drop=(*base.drop, *drop),
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of the source are taken: all, the first ``limit``, or ``sample`` of them by ``seed``."""

    limit: int | None = None
    sample: int | None = None
    seed: int = 0
