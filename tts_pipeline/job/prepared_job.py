"""The prepared job: a job that is checked and ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tts_pipeline.cache.cache_location import CacheLocation
from tts_pipeline.card import Card
from tts_pipeline.config import SHIP_EVERY_S
from tts_pipeline.dataset.active_part import PartRows
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.job.folders import JOURNALS
from tts_pipeline.job.job import Job
from tts_pipeline.job.rebuild import OldGeneration, Rebuild
from tts_pipeline.models import Utterance, UtteranceKey
from tts_pipeline.source.columns import UtteranceMapper
from tts_pipeline.source.parquet_source import Source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.spooled_rows import SpooledRows
from tts_pipeline.storage.hash_partitions import SortedHashes
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job that is checked and ready to run.

    ``row_indices`` are the selected rows of the source, in ascending order. The caller enters ``leases`` to run the
    job. ``repeated_hashes`` are those of requests that occur more than once; None if the source was not scanned just
    now. ``rebuild`` is set while a new generation is made beside the dataset in place. Unless ``is_published``, speech
    and rejects are returned, and the usage stays in the journals.
    """

    job: Job
    source: Source
    row_indices: Sequence[int]
    mapper: UtteranceMapper
    store: Store
    descriptor: Descriptor
    work_dir: Path
    leases: Leases
    cache_locations: tuple[CacheLocation | OldGeneration, ...] = ()
    repeated_hashes: SortedHashes | None = None
    rebuild: Rebuild | None = None
    is_published: bool = True

    @property
    def home(self) -> Store:
        """The destination itself, even while a new generation is made beside the dataset in place."""
        return self.store if self.rebuild is None else self.rebuild.home

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.mapper.card

    @property
    def journals_dir(self) -> Path:
        """The folder of the journals."""
        return self.work_dir / JOURNALS

    @property
    def job_cache_dir(self) -> Path:
        """The folder that keeps the audio of repeated requests until the job is done."""
        return self.work_dir / "repeated"

    @property
    def ship_every_s(self) -> float | None:
        """The longest time between shipments of journals to the destination; None is never."""
        options = self.job.options
        is_shipping = not isinstance(self.store, LocalStore) if options.ship_journals is None else options.ship_journals
        return (options.ship_every_s or SHIP_EVERY_S) if is_shipping else None

    def read_part(self, reader: RowReader, number: int, held_rows: SpooledRows | None = None) -> PartRows:
        """Read a part's rows from the source into ``held_rows``; None keeps them in memory. Blocking."""
        span = self.descriptor.row_range(number)
        indices = self.row_indices[span.start : span.stop]
        inputs = SpooledRows(reader.schema) if held_rows is None else held_rows
        keys: list[UtteranceKey] = []
        utterances: list[Utterance] = []
        for piece in reader.batches(indices):
            rows, piece_indices = pa.Table.from_batches([piece]), indices[len(keys) : len(keys) + piece.num_rows]
            piece_keys = self.mapper.roles.keys(rows, [self.source.locate(index) for index in piece_indices])
            utterances += self.mapper.utterances(rows, piece_keys)
            keys += piece_keys
            inputs.add(piece)
        return PartRows(number, inputs, keys, utterances)
