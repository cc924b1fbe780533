"""Link a task in Airflow's interface to its dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import attrs
from airflow.sdk import BaseOperatorLink

from tts_pipeline.errors import without_passwords
from tts_pipeline.storage.location import is_local, local_path

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

_DATASET_CARD = "README.md"
_CONSOLES = {
    "s3": "https://s3.console.aws.amazon.com/s3/buckets/{bucket}?prefix={path}/",
    "gs": "https://console.cloud.google.com/storage/browser/{bucket}/{path}",
}
"""Web addresses of buckets by scheme, 2026-11."""


@attrs.define()
class SpeechReportLink(BaseOperatorLink):
    """A button at the task: the page of its dataset, or the dataset itself."""

    name: str = "Speech report"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 (Airflow's signature)
        """Return the link that the task set while it ran; empty before that."""
        return str(getattr(operator, "report_link", ""))


def report_link(dataset: str, page: str | None) -> str:
    """Return the web address of a dataset: ``page`` with its ``{dataset}`` filled in, or the dataset's own location."""
    dataset = without_passwords(dataset)
    if page:
        return page.replace("{dataset}", quote(dataset, safe=""))
    if is_local(dataset):
        return (local_path(dataset) / _DATASET_CARD).as_uri()
    parts = urlsplit(dataset)
    console = _CONSOLES.get(parts.scheme)
    return dataset if console is None else console.format(bucket=parts.netloc, path=quote(parts.path.strip("/")))
