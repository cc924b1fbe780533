"""Export the speech of a dataset to files for training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tts_pipeline.config import AS_RECEIVED
from tts_pipeline.exports.destination import begin_export, finish_export
from tts_pipeline.exports.files import FileExporter
from tts_pipeline.exports.manifests import Manifests, NemoManifests
from tts_pipeline.exports.options import ExportOptions
from tts_pipeline.exports.plan import ExportPlan
from tts_pipeline.exports.report import Export
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.store import Store


def export(  # noqa: PLR0913 (public: the settings of an export are keyword arguments)
    dataset: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    as_: str,
    name: str | None = None,
    where: str | None = None,
    split: str | Mapping[str, float] | None = None,
    audio_format: str = AS_RECEIVED,
    sample_rate_hz: int | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> Export:
    """Export the speech of a dataset, in flat memory.

    An earlier export of the same format at the destination is updated to the dataset and these settings: unchanged
    audio files stay, new and changed files are written, and files that are no longer part of the export are removed, as
    are manifests of splits that no longer exist. ``huggingface`` writes all its Parquet files again.

    Args:
        dataset: The folder or fsspec URL of a dataset. Unfinished parts are left out and counted.
        destination: A folder or an fsspec URL, empty or with an earlier export.
        as_: ``huggingface``, ``files``, ``nemo`` or ``lhotse``.
        name: The template of the audio files' names, a format string of columns, ``ext`` and ``split``; None is
            ``{utterance_id}.{ext}`` (in ``audio/`` beside manifests, and in a folder for each split). Names are safe
            on all disks for any id. None for ``huggingface``, which has no files.
        where: A condition in SQL over the columns of the speech table, such as ``duration_ms < 20000``; None is all
            rows.
        split: Shares by name, such as ``train=0.98,validation=0.02``. An utterance's split depends on its id alone, so
            that it never changes; if the shares add up to less than 1, the rest is left out. None is one split.
        audio_format: ``as-received`` (as the dataset has it), ``wav``, ``flac``, ``mp3`` or ``ogg``.
        sample_rate_hz: The sample rate to resample to; None keeps the rate.
        on_rows: Called with the number of rows that are done and the number of all rows; None is no callback.

    Returns:
        The figures of the export. Utterances whose audio cannot be converted are left out, and listed in ``failed``.

    Raises:
        ConfigurationError: A setting, the dataset or the destination is wrong; nothing was written. Never retried.
        StorageError: The dataset or the destination failed. Not retried: the same call, made again, continues.
    """
    started = time.monotonic()
    options = ExportOptions(as_, name, where, split, audio_format, sample_rate_hz)
    source, store = open_store(dataset), open_store(destination)
    plan = options.plan(source, on_rows or (lambda _, __: None))
    report = Export(as_, store.root, parts_left=plan.parts_left)
    exporter = _create_exporter(options, plan, store, report)
    options_json = options.to_json(source.root)
    is_index_valid, stale_manifests = begin_export(store, as_, options_json, exporter.manifests)
    exporter.run(is_index_valid=is_index_valid)
    for stale in stale_manifests:
        store.remove(stale)
    finish_export(store, as_, options_json, exporter.manifests)
    report.elapsed_s = time.monotonic() - started
    return report


class _Exporter(Protocol):
    @property
    def manifests(self) -> Sequence[str]: ...

    def run(self, *, is_index_valid: bool) -> None: ...


def _create_exporter(options: ExportOptions, plan: ExportPlan, store: Store, report: Export) -> _Exporter:
    if options.as_ == "huggingface":
        from tts_pipeline.exports.huggingface import HuggingFaceExporter  # imported late: its library is optional

        return HuggingFaceExporter(plan, store, report)
    return FileExporter(plan, store, options.template(), _create_manifests(options.as_, store, plan), report)


def _create_manifests(as_: str, store: Store, plan: ExportPlan) -> Manifests:
    kind: type[Manifests] = NemoManifests if as_ == "nemo" else Manifests
    if as_ == "lhotse":
        from tts_pipeline.exports.lhotse_manifests import LhotseManifests  # imported late: its library is optional

        kind = LhotseManifests
    return kind(store, plan.splits.names, has_splits=plan.has_splits)
