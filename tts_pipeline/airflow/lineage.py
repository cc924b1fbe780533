"""Build the OpenLineage facets of a task; imported only if Airflow's provider for OpenLineage is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.openlineage.facet import (
    Dataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
)
from airflow.providers.openlineage.extractors import OperatorLineage

from tts_pipeline.errors import without_passwords
from tts_pipeline.storage.location import is_local, local_path

if TYPE_CHECKING:
    from collections.abc import Sequence


def lineage_of(sources: Sequence[str], output: str, rows: int | None) -> OperatorLineage[Any, Any]:
    """Return a task's inputs and its output; ``rows`` is the output's number of rows, None if it is not known."""
    facets: dict[str, Any] = (
        {} if rows is None else {"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows)}
    )
    namespace, name = _openlineage_name(output)
    return OperatorLineage(
        inputs=[Dataset(*_openlineage_name(source)) for source in sources],
        outputs=[OutputDataset(namespace, name, outputFacets=facets)],
    )


def _openlineage_name(path: str) -> tuple[str, str]:
    """Return namespace and name by OpenLineage's naming specification: ``s3://bucket``, ``folder``; ``file``, path."""
    if is_local(path):
        return "file", str(local_path(path))
    parts = urlsplit(without_passwords(path))
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/") or "/"
