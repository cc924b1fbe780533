"""Configuration values and every default of the package, each written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

PART_ROWS = 500
"""Rows in a part, unless the source is so large that there would be more than ``MAX_PARTS``."""

CALL_PART_ROWS = 5_000
"""Rows in a part of a call of ``synthesize``. A part is collected while others are spoken: as one part, 200,000 short
rows took 0.8 GB more at their end, and 15 s. As 400 parts, they would be as many journals with their syncs."""

MAX_PARTS = 2_000
"""A dataset has at most this many parts, so that listing it stays cheap."""

MAX_DESCRIPTOR_PARTS = 10**6
MAX_DESCRIPTOR_GENERATIONS = 10**9
"""A descriptor with more parts or generations than these is damaged."""

MIN_OPEN_PARTS = 8
"""At least this many parts are open at one time."""

MIN_OPEN_ROWS_PER_REQUEST = 32
"""At least this many rows are in open parts for each request in flight. A part stays open until its last answer."""

ROW_GROUP_BYTES = 16 * 1024 * 1024
"""The most audio in one Parquet row group of the speech table (a larger row is a group by itself)."""

SLICE_ROWS = 4_096
"""The most rows that are read from Parquet at one time."""

SLICE_BYTES = 8 * 1024 * 1024
"""Decoded size of these rows, estimated from the rows before them (a larger row is a slice by itself)."""

UNEVEN_SLICE_BYTES = 8 * SLICE_BYTES
"""Their largest size where rows differ very much, judged by the longest values and the fullest pages."""

MAX_PAGE_BYTES = 1024 * 1024 * 1024
"""The largest Parquet page that is read. A page is unpacked whole: reading takes its unpacked and its packed size in
memory. Pages of 1 MB are usual; pyarrow writes 1,000 values of 100 kB as one page of 100 MB."""

MAX_FOOTER_BYTES = 64 * 1024 * 1024
"""The largest Parquet footer that is read: it describes some 500,000 column chunks."""

MAX_EXPANSION_RATIO = 1_000
"""A Parquet file is refused when its columns, once read, are more than this many times as large as the file: one value
that 200,000 rows share by a dictionary is 200 GB in a dataset. Text unpacks to 20 times its size at most."""

EXPANSION_EXEMPT_BYTES = 1024 * 1024 * 1024
"""A Parquet file whose columns, once read, are no larger than this is never refused for ``MAX_EXPANSION_RATIO``."""

OPEN_INPUT_BYTES = 64 * 1024 * 1024
"""About this much of the source is in memory while its parts are open; the rest waits in a file."""

OPEN_TEXT_BYTES = 64 * 1024 * 1024
"""No further part is opened while the texts of the open parts are larger than this."""

RESERVE_BYTES_PER_REQUEST = 1024 * 1024
"""Free space kept on the journals' disk for each attempt in flight: about 20 seconds of speech, the mean of all."""

SHIP_EVERY_S = 1.0
"""How often the journals of open parts are shipped to a destination that outlives this machine, even if no request
waits for it: an answer may be the last one for a while."""

SHIP_TIMEOUT_S = 60.0
"""How long requests wait for a destination that takes no journals before the run ends."""

SHIP_CONCURRENCY = 8
"""Journals that are shipped at one time."""

LEASE_S = 60.0
"""How long a run keeps its parts after its last sign of life, where machines share a destination."""

MAX_LEASE_S = 3_600.0
"""The longest lease: a machine that takes over from a dead one waits one and a half times as long."""

JOURNAL_CHUNK_BYTES = 4 * 1024 * 1024
"""A journal is shipped in chunks of this size at most."""

MAX_TEXT_CHARACTERS = 100_000
"""The longest text of one utterance: an hour and a half of English, or six hours of Chinese, which are 1 GB as WAV. A
longer text is refused before it is read: cutting it would take a second for each million characters."""

MAX_AUDIO_BYTES = 256 * 1024 * 1024
"""A larger answer is refused, so that an endless body cannot fill the memory."""

MAX_CLIP_S = 1_800.0
"""The longest clip that one answer may hold. The longest input that a card takes is 4,096 characters: 17 minutes of
English at a quarter of the usual speed, 16 minutes of Chinese at the usual speed (``audio/speaking_rate``)."""

TEXT_BYTES_PER_S = 64_000
"""An answer that is text (JSON, events) may be this long for each second of ``MAX_CLIP_S``: base64 of 16-bit samples at
24 kHz, the rate of the models."""

MAX_JSON_VALUES = 1_000_000
"""The most JSON values and lines in one answer: each becomes an object of about 100 bytes. A minute of speech with the
times of all its characters has about 10,000."""

MIN_SAMPLE_RATE_HZ = 4_000
"""Half the rate of a telephone, and below every rate of MP3, AAC and Opus."""

MAX_SAMPLE_RATE_HZ = 192_000
"""The highest rate of studio recorders."""

MAX_SERVICE_SAMPLE_RATE_HZ = 48_000
"""The highest rate of speech services."""

PCM_SAMPLE_RATE_HZ = 24_000
"""The rate of the models, assumed for headerless samples where neither the answer nor its request states a rate."""

MAX_CHANNELS = 8
"""Every container that we read can carry this many; speech has one or two."""

PLAUSIBLE_RATIO = 4
"""A reported count is implausible when it is more than our count times this ratio, or less than our count divided by
it."""

MAX_HEADER_BYTES = 64 * 1024
"""The longest header, or status line, of an answer."""

MAX_HEAD_BYTES = 2 * MAX_HEADER_BYTES
"""The longest head of an answer, and the longest run of anything else outside a body: trailers, chunk extensions."""

EXCHANGE_TIMEOUT_FACTOR = 10
"""An exchange that goes on without being silent for ``timeout_s`` is given up after this many times ``timeout_s``."""

CONNECTION_PROBATION_S = 0.5
"""How long a service's connections must be silent after an answer before one of them carries a second request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The load that the service gets, and our patience with it.

    Args:
        max_concurrency: Attempts in flight at one time.
        requests_per_minute: A smooth rate; None is no limit of ours.
        characters_per_minute: A smooth rate of counted characters; None is no limit of ours.
        account_concurrency: Attempts in flight of all processes that share the account; None is no limit of ours.
        max_attempts: Attempts of one segment before the row is a reject; a 429 does not count.
        timeout_s: The longest silence of the service within an attempt. Ten times as long is the longest attempt, from
            the connection to the last byte, and the longest fetch of its audio.
        connect_timeout_s: The longest wait for a connection.
        max_pause_s: A longer pause that the service requests stops the run (exit 5).
        max_outage_s: A longer outage stops the run (exit 5).
        stop_grace_s: How long an orderly stop waits for answers that are already paid for.
        retry_wait_s: The wait before a row's first retry; it doubles with each retry, with full jitter.
        retry_wait_max_s: The longest wait before a retry.
    """

    max_concurrency: int = 16
    requests_per_minute: float | None = None
    characters_per_minute: float | None = None
    account_concurrency: int | None = None
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
    """The most that a job may spend, over all its invocations; unknown spending counts as its upper bound.

    Args:
        max_cost: An amount of money, more than 0; None is no cap.
        currency: The currency of ``max_cost`` (ISO 4217), the same as the model's price. None only without
            ``max_cost``.
        max_characters: Billed characters, 1 or more; None is no cap.
    """

    max_cost: Decimal | None = None
    currency: str | None = None
    max_characters: int | None = None


AS_RECEIVED = "as-received"
"""The audio format that keeps the bytes as they were received."""


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """The form of the dataset's audio.

    Args:
        format: ``as-received``, or the format that all audio is converted to.
        sample_rate_hz: The rate that all audio is resampled to; None keeps the received rate.
        pause_ms: Silence between the segments of a long text, about as long as a reader's between two sentences.
    """

    format: str = AS_RECEIVED
    sample_rate_hz: int | None = None
    pause_ms: int = 300


UnspeakableAction = Literal["keep", "reject"]
"""The action for a text with nothing to say: send it all the same, or reject it before it costs money."""

UNSPEAKABLE: UnspeakableAction = "reject"

QualityAction = Literal["keep", "retry", "reject"]


@dataclass(frozen=True, slots=True)
class QualityPolicy:
    """The action for audio that has a quality flag.

    ``keep`` keeps the audio and its flag. ``retry`` buys it again, at most ``max_retakes`` times, and keeps the best;
    audio that is then still ``empty`` or ``undecodable`` is rejected. ``reject`` rejects the utterance immediately.

    Args:
        actions: Action by flag; audio with any other flag is kept.
        max_retakes: The most retakes of one segment, all of them billed.
    """

    actions: Mapping[str, QualityAction] = field(default_factory=lambda: {"empty": "retry", "undecodable": "retry"})
    max_retakes: int = 2


@dataclass(frozen=True, slots=True)
class InputColumns:
    """The columns of the source that utterances are read from.

    Args:
        text: The column of the text (string).
        utterance_id: The column of the id (string or integer); ignored with ``generate_ids``.
        generate_ids: Make ids from the file and the row instead.
        parameters: Parameter -> column that carries it row by row; also ``take`` and ``stream``.
        rename: Input column -> its name in the speech table.
        hive: Whether folders such as ``speaker=Cherry`` are columns.
        drop: Input columns that are not read.
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
        """Combine the arguments of a public function that name columns.

        Args:
            columns: Parameter -> column, or a whole ``InputColumns``.
            text: The column of the text; None takes that of ``columns``.
            utterance_id: The column of the id; None takes that of ``columns``.
            hive: Whether folders are columns; False here or in ``columns`` means no.
            drop: Columns that are not read, in addition to those of ``columns``.
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
    """The rows of the source that a job takes: all, the first ``limit``, or ``sample`` rows drawn by ``seed``."""

    limit: int | None = None
    sample: int | None = None
    seed: int = 0
