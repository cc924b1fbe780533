from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.builders import write_rows
from tests.datasets import utterance_mapper_of
from tts_pipeline.config import InputColumns
from tts_pipeline.models import Utterance
from tts_pipeline.source.columns import UtteranceMapper
from tts_pipeline.source.duplicates import (
    DUPLICATES_FILE,
    RequestHasher,
    load_duplicate_hashes,
    save_duplicate_hashes,
)
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.scan import scan_source
from tts_pipeline.storage.hash_partitions import SortedHashes
from tts_pipeline.storage.local_store import LocalStore


def _hashes(
    folder: Path, table: pa.Table, columns: dict[str, str], **fixed: Any
) -> tuple[Any, list[int], SortedHashes]:
    """Return the hashes of the rows, of their utterances, and of the duplicates in a scan."""
    source = open_source(write_rows(folder / "a.parquet", table))
    mapper: UtteranceMapper = utterance_mapper_of(source, InputColumns(parameters=columns), **fixed)
    rows = RowReader(source).read(range(source.rows))
    keys = mapper.roles.keys(rows, [("", 0)] * rows.num_rows)
    hasher = RequestHasher(mapper)
    utterances = mapper.utterances(rows, keys)
    duplicates = scan_source(source, range(source.rows), mapper, scratch=folder / "scratch")
    return hasher.hash_rows(rows), [hasher.hash_utterance(utterance) for utterance in utterances], duplicates


def test_rows_and_their_utterances_have_the_same_hashes(tmp_path: Path) -> None:
    """A run computes the same hashes as the scan; texts, takes and parameters distinguish rows."""
    table = pa.table(
        {
            "id": range(6),
            "text": ["One.", "One.", "One.", "Two.", "One.", "One."],
            "speaker": ["Cherry", None, "Stella", "Cherry", "Cherry", "Cherry"],
            "n": [0, 0, 0, 0, 1, None],
            "note": list("abcdef"),
        }
    )
    of_rows, of_utterances, duplicates = _hashes(tmp_path, table, {"voice": "speaker", "take": "n"})
    assert of_rows.tolist() == of_utterances
    assert len(set(of_utterances)) == 4
    assert of_utterances[0] == of_utterances[1] == of_utterances[5]
    assert duplicates.tolist() == [of_utterances[0]]


def test_what_is_sent_alike_is_alike(tmp_path: Path) -> None:
    """A language by its tag or by the service's word is the same request; streaming makes no difference."""
    languages, streamed = ["de", "German", "de"], [True, False, None]
    table = pa.table({"id": range(3), "text": ["Ja."] * 3, "lang": languages, "s": streamed})
    _, of_utterances, duplicates = _hashes(tmp_path, table, {"language_type": "lang", "stream": "s"})
    assert len(set(of_utterances)) == len(duplicates) == 1


def test_rows_without_a_text_are_not_looked_at(tmp_path: Path) -> None:
    """Rows without a text have no hash, because they are never sent."""
    table = pa.table({"id": range(5), "text": pa.array([None, None, "", " ", "\t"], pa.string())})
    of_rows, _, duplicates = _hashes(tmp_path, table, {})
    assert (len(of_rows), len(duplicates)) == (0, 0)


def test_only_repeated_requests_are_hashed_to_last(tmp_path: Path) -> None:
    """The pass over all rows finds the candidates; what the second pass finds once, or without a text, is not one."""
    texts = [f"Line {number % 5_990}." for number in range(6_000)] + [None, None, " ", " "]
    table = pa.table({"id": range(len(texts)), "text": pa.array(texts, pa.string())})
    _, of_utterances, duplicates = _hashes(tmp_path, table, {})
    assert duplicates.tolist() == sorted(of_utterances[:10])


def test_hashes_are_the_same_in_every_process(tmp_path: Path) -> None:
    """A hash does not depend on the process: stored hashes are compared with those of later runs."""
    source = open_source(write_rows(tmp_path / "a.parquet"))
    request_hash = RequestHasher(utterance_mapper_of(source))
    assert request_hash.hash_utterance(Utterance("a", "Line 0.", {"voice": "Cherry"})) == 5391741848502970322
    assert request_hash.hash_utterance(Utterance("b", "Line \ud800.", {})) != 0


@pytest.mark.parametrize("hashes", [[], [5], [-(2**63), -1, 0, 2**63 - 1]])
def test_what_was_saved_is_loaded(tmp_path: Path, hashes: list[int]) -> None:
    """Hashes are loaded for the job of this fingerprint only; a job without duplicates loads an empty array."""
    store = LocalStore(tmp_path / "out")
    save_duplicate_hashes(store, "f" * 64, np.array(hashes, np.int64))
    loaded = load_duplicate_hashes(store, "f" * 64)
    assert loaded is not None
    assert loaded.tolist() == hashes
    assert load_duplicate_hashes(store, "e" * 64) is None


@pytest.mark.parametrize("damage", [b"\0" * 8, b"\0" * 15, b"\0" * 24])
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    """A damaged file counts as missing: the source is scanned again."""
    store = LocalStore(tmp_path)
    save_duplicate_hashes(store, "f" * 64, np.array([1, 2], np.int64))
    store.write(DUPLICATES_FILE, (store.read(DUPLICATES_FILE) or b"") + damage)
    assert load_duplicate_hashes(store, "f" * 64) is None


def test_it_is_no_part_of_the_dataset(tmp_path: Path) -> None:
    """Listings of the destination omit the file; a later save replaces it, and it can be removed."""
    store = LocalStore(tmp_path)
    for fingerprint in ("a" * 64, "b" * 64):
        save_duplicate_hashes(store, fingerprint, np.array([1], np.int64))
    assert store.is_empty()
    assert load_duplicate_hashes(store, "a" * 64) is None
    assert len(list(tmp_path.iterdir())) == 1
    for _ in range(2):
        store.remove(DUPLICATES_FILE)
    assert list(tmp_path.iterdir()) == []
