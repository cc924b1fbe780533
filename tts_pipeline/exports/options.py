"""Check the options of an export before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from tts_pipeline.audio.convert import check_settings
from tts_pipeline.config import AudioSettings
from tts_pipeline.dataset.reader import DatasetLike, DatasetReader
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.exports.file_names import NameTemplate, check_fields, parse_template
from tts_pipeline.exports.formats import check_export_format, has_audio_files
from tts_pipeline.exports.plan import EXT, SPLIT, ExportPlan, OnRows
from tts_pipeline.exports.splits import parse_splits
from tts_pipeline.report.filters import AUDIO, Filter, parse_filter


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The arguments of ``export``, as given; see there."""

    as_: str
    name: str | None
    where: str | None
    split: str | Mapping[str, float] | None
    audio_format: str
    sample_rate_hz: int | None

    def plan(self, source: DatasetLike, on_rows: OnRows) -> ExportPlan:
        """Check all options against the dataset, and return the plan of the export.

        Raises:
            ConfigurationError: An option is wrong; the hint lists the valid values. Never retried.
            StorageError: The dataset cannot be read.
        """
        check_export_format(self.as_)
        audio = AudioSettings(self.audio_format, self.sample_rate_hz)
        check_settings(audio)
        splits = parse_splits(self.split)
        row_filter = None if self.where is None else parse_filter(self.where)
        template = self.template()
        dataset = DatasetReader.open(source, keeps_nulls=False)
        files = dataset.committed_files("speech")
        plan = ExportPlan(dataset, files, audio, splits, self.split is not None, row_filter, on_rows)
        schema = plan.schema()
        if schema is not None:
            _check_columns(schema, row_filter, template)
        return plan

    def template(self) -> NameTemplate:
        """Return the template of the files' names."""
        if self.name is None:
            folder = "" if self.as_ == "files" else "audio/"
            return parse_template(f"{folder}{'{split}/' if self.split is not None else ''}{{utterance_id}}.{{ext}}")
        if not has_audio_files(self.as_):
            raise ConfigurationError(f"an export as {self.as_} has no audio files to name", hint="leave `name` out")
        if self.as_ == "nemo" and "/" not in self.name:
            raise ConfigurationError(
                f"`name={self.name!r}`: NeMo resolves a path relative to its manifest only if the path has a folder",
                hint=f"use 'audio/{self.name}'",
            )
        return parse_template(self.name)

    def to_json(self, dataset: str) -> dict[str, Any]:
        """Return the settings that are stored at the destination."""
        values = {"dataset": dataset, **asdict(self)}
        if isinstance(self.split, Mapping):
            values["split"] = {name: float(share) for name, share in self.split.items()}  # NumPy numbers too
        del values["as_"]
        return values


def _check_columns(schema: pa.Schema, row_filter: Filter | None, template: NameTemplate) -> None:
    if row_filter is not None:
        row_filter.check(schema)
    check_fields(template, [EXT, SPLIT, *(name for name in schema.names if name != AUDIO)])
