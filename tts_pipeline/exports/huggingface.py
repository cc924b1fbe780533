"""Export a dataset repository for Hugging Face's ``load_dataset`` and hub: Parquet files by split, and a card.

The library ``datasets`` itself makes features and card, so that it can read them; the rows are streamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetInfo, Features, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from tts_pipeline.config import ROW_GROUP_BYTES
from tts_pipeline.dataset.finalize import CARD_FILE, escape_code_span
from tts_pipeline.dataset.speech_file import audio_path, speech_writer
from tts_pipeline.errors import ConfigurationError, ServiceError
from tts_pipeline.exports.audio import convert_row
from tts_pipeline.exports.plan import ExportPlan, ExportRow, audio_bytes
from tts_pipeline.exports.report import Export
from tts_pipeline.models import HOUR_MS, Audio
from tts_pipeline.report.filters import AUDIO
from tts_pipeline.schema import speech_schema
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.store import Store

DATA_FOLDER = "data"

CONVERTERS = 4
_BATCH_ROWS = 32
"""Rows whose converted audio is in memory beside the row group: it may have ten times the bytes."""

_TABLE_ROWS = 256

FILE_BYTES = 500_000_000
"""Audio bytes in one Parquet file, about: the size that ``datasets`` chooses."""

GROUP_BYTES = ROW_GROUP_BYTES
"""The most audio bytes in one row group; a larger row gets its own group."""


class HuggingFaceExporter:
    """Exports to a repository, and fills the report.

    Raises:
        ConfigurationError: A column of the input has a type that ``datasets`` does not know; nothing was written.
    """

    def __init__(self, plan: ExportPlan, store: Store, report: Export) -> None:
        self._plan = plan
        self._store = store
        self._report = report
        self._features = _features(plan.schema() or speech_schema([]))
        self._languages = set[str]()

    @property
    def manifests(self) -> Sequence[str]:
        """No manifests: the card lists the splits."""
        return ()

    def run(self, *, is_index_valid: bool) -> None:  # noqa: ARG002 (all files are written again)
        """Write the repository, in place of an earlier one."""
        self._store.remove(CARD_FILE)  # first: a repository without a card is not taken for complete
        self._store.remove_folder(DATA_FOLDER)
        with ExitStack() as stack:
            writers = {
                split: stack.enter_context(SplitWriter(self._store, split, self._features.arrow_schema))
                for split in self._plan.splits.names
            }
            converters = stack.enter_context(DaemonExecutor(CONVERTERS, "export-convert"))
            for group, rows in self._plan.groups(tuple(name for name in self._features if name != AUDIO)):
                data = group.audio() if rows else None
                for start in range(0, len(rows), _BATCH_ROWS):
                    batch = rows[start : start + _BATCH_ROWS]
                    clips = converters.map(partial(self._convert, data), batch)
                    self._write(writers, zip(batch, clips, strict=True))
            for writer in writers.values():
                writer.flush()
        info = _info(self._features, writers.values())
        self._store.write(CARD_FILE, self._card(info).encode())

    def _convert(self, data: pa.Array, row: ExportRow) -> Audio | ServiceError:
        try:
            return convert_row(row.values, audio_bytes(data, row.position), self._plan.audio)[0]
        except ServiceError as error:  # of this row alone: audio that is kept as received, although it does not decode
            return error

    def _write(
        self, writers: Mapping[str, SplitWriter], clips: Iterable[tuple[ExportRow, Audio | ServiceError]]
    ) -> None:
        for row, audio in clips:
            if isinstance(audio, ServiceError):
                self._report.fail(row.values["utterance_id"], audio.message)
                continue
            self._report.add(row.split if self._plan.has_splits else None, audio.duration_ms)
            self._languages.add(row.values["language"] or "")
            writers[row.split].write(_output_row(row, audio))

    def _card(self, info: DatasetInfo) -> str:
        data = DatasetCardData(
            language=sorted(self._languages - {""}) or None,
            tags=["audio", "text-to-speech", "synthetic"],
            pretty_name="Synthetic speech",
        )
        DatasetInfosDict({"default": info}).to_dataset_card_data(data)
        paths = [{"split": split, "path": f"{DATA_FOLDER}/{split}-*"} for split in info.splits]
        MetadataConfigs({"default": {"data_files": paths}}).to_dataset_card_data(data)
        job, report = self._plan.dataset.descriptor.job, self._report
        text = (
            f"Every voice in this dataset is synthetic: made from text by the model `{escape_code_span(job['model'])}` "
            f"on the service `{escape_code_span(job['service'])}` with tts-pipeline.\n\n"
            f"{report.rows:,} utterances, {report.audio_ms / HOUR_MS:.2f} hours."
        )
        return f"---\n{data}\n---\n\n# Synthetic speech\n\n{text}\n"


class SplitWriter(ExitStack):
    """Writes the Parquet files of one split, each visible when complete; use it by ``with``, and flush it last."""

    def __init__(self, store: Store, split: str, schema: pa.Schema) -> None:
        super().__init__()
        self.split = split
        self.rows = 0
        self.bytes = 0
        self._store = store
        self._schema = schema
        self._file_number = 0
        self._file_bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._tables: list[pa.Table] = []
        self._rows: list[Mapping[str, Any]] = []
        self._row_group_bytes = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row to the row group, and write the group first if it is full."""
        row_bytes = len(row[AUDIO]["bytes"])
        if self._row_group_bytes + row_bytes > GROUP_BYTES:
            self.flush()
        self._rows.append(row)
        self._row_group_bytes += row_bytes
        self.rows += 1
        self.bytes += row_bytes
        if len(self._rows) >= _TABLE_ROWS:
            self._build_table()

    def _build_table(self) -> None:
        """Turn the collected rows into a table: it takes less memory than its rows, unless it is small."""
        if self._rows:
            self._tables.append(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def flush(self) -> None:
        """Write the rows so far as a row group."""
        self._build_table()
        if not self._tables:
            return
        if self._writer is None:
            name = f"{DATA_FOLDER}/{self.split}-{self._file_number:05}.parquet"
            path = self.enter_context(self._store.stage(name))
            self._writer = self.enter_context(speech_writer(path, self._schema))
        self._writer.write_table(pa.concat_tables(self._tables))
        self._file_bytes += self._row_group_bytes
        self._tables, self._row_group_bytes = [], 0
        if self._file_bytes >= FILE_BYTES:
            self.close()
            self._writer, self._file_number, self._file_bytes = None, self._file_number + 1, 0


def _features(schema: pa.Schema) -> Features:
    for field in schema:
        try:
            Features.from_arrow_schema(pa.schema([field]))
        except ValueError as error:
            raise ConfigurationError(
                f"the column {field.name!r} is of type {field.type}, which Hugging Face datasets does not support",
                hint="export as files, or leave the column out of the source",
            ) from error
    return Features.from_arrow_schema(schema)


def _output_row(row: ExportRow, audio: Audio) -> dict[str, Any]:
    key = row.values["utterance_id"], row.values["take"]
    return {
        **row.values,
        "audio_format": audio.format,
        "sample_rate_hz": audio.sample_rate_hz,
        "channels": audio.channels,
        "duration_ms": audio.duration_ms,
        "audio_sha256": _sha256(row, audio),
        AUDIO: {"bytes": audio.data, "path": audio_path(key, audio.format)},
    }


def _sha256(row: ExportRow, audio: Audio) -> str:
    is_unchanged = (audio.format, audio.sample_rate_hz) == (row.values["audio_format"], row.values["sample_rate_hz"])
    source_sha256: str = row.values["audio_sha256"]
    return source_sha256 if is_unchanged else hashlib.sha256(audio.data).hexdigest()


def _info(features: Features, writers: Iterable[SplitWriter]) -> DatasetInfo:
    splits = SplitDict()
    for writer in writers:
        if writer.rows:
            splits.add(SplitInfo(writer.split, num_bytes=writer.bytes, num_examples=writer.rows))
    return DatasetInfo(
        features=features, splits=splits, dataset_size=sum(split_info.num_bytes for split_info in splits.values())
    )
