"""All rows of a dataset at hand: in its order or sorted, page by page, each with its place."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.browse.conftest import LONG, REFUSED
from tts_pipeline.browse.row_query import SORT_KEYS, RowQuery, parse_row_query
from tts_pipeline.browse.row_table import RowTable
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.storage.open_store import open_store


def ids(rows: RowTable, **query: str) -> list[str]:
    """Return the ids of the rows that a URL asks for."""
    total, page = rows.page(parse_row_query(query))
    assert total >= len(page)
    return [row["utterance_id"] for row in page]


@pytest.fixture
def remote(dataset: Path) -> Iterator[str]:
    """A copy of the dataset on an fsspec file system."""
    url = f"memory://{uuid.uuid4().hex}/out"
    filesystem, path = fsspec.core.url_to_fs(url)
    for name in ("dataset.json", "parts.json"):
        filesystem.pipe_file(f"{path}/{name}", (dataset / name).read_bytes())
    for folder in ("speech", "usage", "rejects"):
        for file in (dataset / folder).iterdir():
            filesystem.pipe_file(f"{path}/{folder}/{file.name}", file.read_bytes())
    yield url
    filesystem.rm(path, recursive=True)


def test_rows_are_in_the_order_of_the_dataset(snapshot: Snapshot) -> None:
    """Speech part by part, then rejects; each says where it is."""
    total, page = snapshot.rows().page(RowQuery())
    assert total == 12
    assert [row["utterance_id"] for row in page] == [*(f"r{number}" for number in range(12) if number != 3), "r3"]
    places = [(row["table"], row["part"], row["number"]) for row in page]
    assert places[4] == ("speech", "part-00001", 0)
    assert places[-1] == ("rejects", "part-00000", 0)


def test_a_reject_has_its_text_and_voice(snapshot: Snapshot) -> None:
    """They are found in its input row."""
    ((*_, reject),) = (snapshot.rows().page(RowQuery(offset=11, limit=1))[1],)
    assert (reject["text"], reject["voice"], reject["error_code"]) == (REFUSED, "Cherry", "DataInspectionFailed")


@pytest.mark.parametrize("name", SORT_KEYS)
def test_rows_are_sorted(snapshot: Snapshot, name: str) -> None:
    """Up and down, what is null last both times, equal rows in the order of the dataset."""
    rows = snapshot.rows()
    key = rows.frame.lazy().select(SORT_KEYS[name].alias("key"), id="utterance_id").collect()
    for descending in (False, True):
        known = key.filter(key["key"].is_not_null()).rows()
        expected = [id_ for _, id_ in sorted(known, key=lambda row: row[0], reverse=descending)]
        nulls = key.filter(key["key"].is_null())["id"].to_list()
        assert ids(rows, sort=f"-{name}" if descending else name) == expected + nulls


def test_pages_make_up_the_whole(snapshot: Snapshot) -> None:
    """No row is missing or there twice, and beyond the end there is nothing."""
    rows, sorted_ = snapshot.rows(), ids(snapshot.rows(), sort="-cost")
    pages = [ids(rows, sort="-cost", offset=str(offset), limit="5") for offset in (0, 5, 10, 15)]
    assert [len(page) for page in pages] == [5, 5, 2, 0]
    assert [name for page in pages for name in page] == sorted_


def test_choices_are_counted(snapshot: Snapshot) -> None:
    """What can be filtered by, with how many rows it finds."""
    values = snapshot.rows().values()
    assert dict(values["voice"]) == {"Cherry": 8, "Stella": 4}
    assert values["error_code"] == [("DataInspectionFailed", 1)]
    for voice, number in values["voice"]:
        assert len(ids(snapshot.rows(), voice=str(voice))) == number


def test_a_url_is_a_dataset_like_any_other(snapshot: Snapshot, remote: str, tmp_path: Path) -> None:
    """The same rows at the same places, read through fsspec."""
    far = Snapshot(open_store(remote, tmp_path))
    assert far.rows().page(RowQuery()) == snapshot.rows().page(RowQuery())
    assert far.rows().page(parse_row_query({"q": "ferry"}))[1][0]["text"] == LONG
    figures = [view.bill() for view in (far, snapshot)]
    assert figures[0] == figures[1]
