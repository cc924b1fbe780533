"""A dataset repository as Hugging Face's ``load_dataset`` opens it and the hub shows it: Parquet by split, and a card.

Features and card are made by ``datasets`` itself, so that they are what that library reads; the rows are streamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from datasets import DatasetInfo, Features, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from tts_pipeline.config import ROW_GROUP_BYTES
from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.finish import CARD, as_code
from tts_pipeline.dataset.speech_file import SpeechWriter, audio_path
from tts_pipeline.dataset.store import Store
from tts_pipeline.errors import ConfigurationError, ServiceError
from tts_pipeline.exports.filters import AUDIO
from tts_pipeline.exports.plan import Chosen, Plan, bytes_at
from tts_pipeline.exports.report import Export
from tts_pipeline.exports.sound import exported
from tts_pipeline.models import Audio
from tts_pipeline.schema import speech_schema

FOLDER = "data"

CONVERTERS = 4
_AT_A_TIME = 32
"""Rows whose audio is in memory beside the row group: converted, it may be ten times as long."""

_ROWS_AT_A_TIME = 256

_SAYS = ("audio_format", "sample_rate_hz", "channels", "duration_ms", "audio_sha256")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How rows are divided.

    Args:
        shard_bytes: In one Parquet file, about: as much as ``datasets`` puts there.
        group_bytes: In one row group, at most; a larger row is one of its own.
    """

    shard_bytes: int = 500_000_000
    group_bytes: int = ROW_GROUP_BYTES


USUAL = Sizes()


class HuggingFaceExport:
    """An export to a repository.

    Args:
        plan: What is exported.
        store: The destination.
        export: Filled.
        sizes: Of files and row groups.

    Raises:
        ConfigurationError: A column of the input has a type that ``datasets`` does not know; nothing was written.
    """

    def __init__(self, plan: Plan, store: Store, export: Export, sizes: Sizes = USUAL) -> None:
        self._plan = plan
        self._store = store
        self._export = export
        self._sizes = sizes
        self._features = _features(plan.table.schema or speech_schema([]))
        self._languages = set[str]()

    @property
    def manifests(self) -> Sequence[str]:
        """None: the card tells of the splits."""
        return ()

    def run(self, *, is_sure: bool) -> None:  # noqa: ARG002 (what is there is not looked at)
        """Write the repository, in place of an earlier one.

        Raises:
            StorageError: The dataset or the destination failed; it is to be made anew.
        """
        self._store.remove(CARD)  # first: without it nobody takes what is left for whole
        self._store.remove_all(FOLDER)
        with ExitStack() as held:
            shards = {split: held.enter_context(self._shards(split)) for split in self._plan.splits.names}
            converters = held.enter_context(DaemonExecutor(CONVERTERS, "export-convert"))
            for group, chosen in self._plan.groups(tuple(name for name in self._features if name != AUDIO)):
                data = group.audio() if chosen else None
                for start in range(0, len(chosen), _AT_A_TIME):
                    some = chosen[start : start + _AT_A_TIME]
                    heard = converters.map(partial(self._heard, data), some)
                    self._write(shards, zip(some, heard, strict=True))
        info = _info(self._features, shards.values())
        self._store.write(CARD, self._card(info).encode())

    def _shards(self, split: str) -> Shards:
        return Shards(self._store, split, self._features.arrow_schema, self._sizes)

    def _heard(self, data: pa.Array, one: Chosen) -> Audio | ServiceError:
        try:
            return exported(one.values, bytes_at(data, one.place), self._plan.audio)[0]
        except ServiceError as error:  # of this row alone: what a service sent, kept although it does not decode
            return error

    def _write(self, shards: Mapping[str, Shards], heard: Iterable[tuple[Chosen, Audio | ServiceError]]) -> None:
        for one, audio in heard:
            if isinstance(audio, ServiceError):
                self._export.fail(one.values["utterance_id"], audio.message)
                continue
            self._export.add(one.split if self._plan.has_splits else None, audio.duration_ms)
            self._languages.add(one.values["language"] or "")
            shards[one.split].write(_row(one, audio))

    def _card(self, info: DatasetInfo) -> str:
        data = DatasetCardData(
            language=sorted(self._languages - {""}) or None,
            tags=["audio", "text-to-speech", "synthetic"],
            pretty_name="Synthetic speech",
        )
        DatasetInfosDict({"default": info}).to_dataset_card_data(data)
        paths = [{"split": split, "path": f"{FOLDER}/{split}-*"} for split in info.splits]
        MetadataConfigs({"default": {"data_files": paths}}).to_dataset_card_data(data)
        job, export = self._plan.table.descriptor.job, self._export
        said = (
            f"Every voice in this dataset is synthetic: made from text by the model `{as_code(job['model'])}` on the "
            f"service `{as_code(job['service'])}` with tts-pipeline.\n\n"
            f"{export.rows:,} utterances, {export.audio_ms / 3_600_000:.2f} hours."
        )
        return f"---\n{data}\n---\n\n# Synthetic speech\n\n{said}\n"


class Shards:
    """The Parquet files of one split, each visible when it is whole. Used by ``with``.

    Args:
        store: The destination.
        split: Its name.
        schema: What the files hold.
        sizes: Of files and row groups.
    """

    def __init__(self, store: Store, split: str, schema: pa.Schema, sizes: Sizes) -> None:
        self.split = split
        self.rows = 0
        self.bytes = 0
        self._store = store
        self._schema = schema
        self._sizes = sizes
        self._shards = 0
        self._shard_bytes = 0
        self._open = ExitStack()
        self._writer: SpeechWriter | None = None
        self._tables: list[pa.Table] = []
        self._rows: list[Mapping[str, Any]] = []
        self._group_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._open.__exit__(kind, error, trace)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row, with as many others as fit a row group."""
        row_bytes = len(row[AUDIO]["bytes"])
        if self._group_bytes + row_bytes > self._sizes.group_bytes:
            self._flush()
        self._rows.append(row)
        self._group_bytes += row_bytes
        self.rows += 1
        self.bytes += row_bytes
        if len(self._rows) >= _ROWS_AT_A_TIME:
            self._settle()

    def _settle(self) -> None:
        """Make rows a table: as such they take less memory, but a small table takes more than its rows."""
        if self._rows:
            self._tables.append(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def _flush(self) -> None:
        self._settle()
        if not self._tables:
            return
        if self._writer is None:
            path = self._open.enter_context(self._store.stage(f"{FOLDER}/{self.split}-{self._shards:05}.parquet"))
            self._writer = self._open.enter_context(SpeechWriter(path, self._schema))
        self._writer.write(pa.concat_tables(self._tables))
        self._shard_bytes += self._group_bytes
        self._tables, self._group_bytes = [], 0
        if self._shard_bytes >= self._sizes.shard_bytes:
            self._open.close()
            self._writer, self._shards, self._shard_bytes = None, self._shards + 1, 0


def _features(schema: pa.Schema) -> Features:
    for field in schema:
        try:
            Features.from_arrow_schema(pa.schema([field]))
        except ValueError as error:
            raise ConfigurationError(
                f"Hugging Face datasets knows no {field.type}, which the column {field.name!r} is",
                hint="export as files, or leave the column out of the source",
            ) from error
    return Features.from_arrow_schema(schema)


def _row(one: Chosen, audio: Audio) -> dict[str, Any]:
    key = one.values["utterance_id"], one.values["take"]
    facts = (audio.format, audio.sample_rate_hz, audio.channels, audio.duration_ms, _sha256(one, audio))
    said = dict(zip(_SAYS, facts, strict=True))
    return {**one.values, **said, AUDIO: {"bytes": audio.data, "path": audio_path(key, audio.format)}}


def _sha256(one: Chosen, audio: Audio) -> str:
    is_as_it_was = (audio.format, audio.sample_rate_hz) == (one.values["audio_format"], one.values["sample_rate_hz"])
    known: str = one.values["audio_sha256"]
    return known if is_as_it_was else hashlib.sha256(audio.data).hexdigest()


def _info(features: Features, shards: Iterable[Shards]) -> DatasetInfo:
    splits = SplitDict()
    for one in shards:
        if one.rows:
            splits.add(SplitInfo(one.split, num_bytes=one.bytes, num_examples=one.rows))
    return DatasetInfo(features=features, splits=splits, dataset_size=sum(one.num_bytes for one in splits.values()))
