"""Where a task's button leads."""

from __future__ import annotations

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from tts_pipeline.airflow.links import report_link


@pytest.mark.parametrize(
    ("dataset", "page", "link"),
    [
        ("/data/spoken words", None, "file:///data/spoken%20words/README.md"),
        ("file:///data/spoken", None, "file:///data/spoken/README.md"),
        ("s3://bucket/a/b", None, "https://s3.console.aws.amazon.com/s3/buckets/bucket?prefix=a/b/"),
        ("gs://bucket/a b/", None, "https://console.cloud.google.com/storage/browser/bucket/a%20b"),
        ("abfs://container/a", None, "abfs://container/a"),
        ("s3://bucket/a?b", "https://pages.example/?dataset={dataset}", "https://pages.example/?dataset=s3%3A%2F%2Fbucket%2Fa%3Fb"),
        ("/data", "https://pages.example/{other}/{dataset}", "https://pages.example/{other}/%2Fdata"),
    ],
)  # fmt: skip
def test_where_a_dataset_is_shown(dataset: str, page: str | None, link: str) -> None:
    """On its page where there is one, else where it lies."""
    assert report_link(dataset, page) == link
