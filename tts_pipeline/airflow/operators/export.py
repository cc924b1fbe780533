"""Provide ``SpeechExportOperator``, which exports a dataset to files for training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from tts_pipeline.airflow.outcome import airflow_errors, check_xcom_size
from tts_pipeline.airflow.paths import resolve_path
from tts_pipeline.config import AS_RECEIVED

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tts_pipeline.airflow.paths import AnyPath


class SpeechExportOperator(BaseOperator):
    """Export the speech of a dataset as audio files, or for Hugging Face, NeMo or lhotse; see ``tts_pipeline.export``.

    An earlier export at the destination is updated to the dataset: a task that is retried, or runs every night, writes
    new and changed files. The task returns the destination and counts, which each outlet's event gets too. Utterances
    whose audio cannot be converted are left out, counted in ``failures`` and named in the log.

    Args:
        dataset: The folder or URL of a dataset.
        destination: A folder or a URL, empty or with an earlier export of the same format.
        as_: ``huggingface``, ``files``, ``nemo`` or ``lhotse``.
        name: The template of the audio files' names, such as ``{utterance_id}.{ext}``; None is the format's default.
        where: A condition in SQL over the columns of the speech table; None is all rows.
        split: Shares by name, such as ``train=0.98,validation=0.02``; None is one split.
        audio_format: ``as-received``, ``wav``, ``flac``, ``mp3`` or ``ogg``.
        sample_rate_hz: The sample rate to resample to; None keeps the rate.
        dataset_conn_id: The connection that opens the dataset; None is the one in its URL, or the driver's own.
        destination_conn_id: The same for the destination.
        kwargs: Arguments of every operator.
    """

    template_fields: Sequence[str] = (
        "dataset",
        "destination",
        "name",
        "where",
        "split",
        "dataset_conn_id",
        "destination_conn_id",
    )
    ui_color = "#e6dcf7"

    def __init__(  # noqa: PLR0913 (an operator's fields, by name)
        self,
        *,
        dataset: AnyPath,
        destination: AnyPath,
        as_: str,
        name: str | None = None,
        where: str | None = None,
        split: str | Mapping[str, float] | None = None,
        audio_format: str = AS_RECEIVED,
        sample_rate_hz: int | None = None,
        dataset_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.destination = destination
        self.as_ = as_
        self.name = name
        self.where = where
        self.split = split
        self.audio_format = audio_format
        self.sample_rate_hz = sample_rate_hz
        self.dataset_conn_id = dataset_conn_id
        self.destination_conn_id = destination_conn_id
        self._lineage: tuple[str, str, int | None] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Export the dataset; the returned counts go to XCom."""
        from tts_pipeline.exports import export

        with airflow_errors():
            dataset = resolve_path(self.dataset, self.dataset_conn_id)
            result = export(
                dataset,
                resolve_path(self.destination, self.destination_conn_id),
                as_=self.as_,
                name=self.name,
                where=self.where,
                split=self.split,
                audio_format=self.audio_format,
                sample_rate_hz=self.sample_rate_hz,
            )
        self._lineage = (os.fspath(dataset), result.destination, result.rows)
        counts = result.to_json()
        for utterance_id, reason in counts.pop("failed").items():
            self.log.warning("utterance %r is left out of the export: %s", utterance_id, reason)
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra.update(counts)
        return check_xcom_size(counts)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 (the provider's signature)
        """Return the task's lineage; only the OpenLineage provider calls this."""
        from tts_pipeline.airflow.lineage import lineage_of

        source, destination, rows = self._lineage or (str(self.dataset), str(self.destination), None)
        return lineage_of([source], destination, rows)
