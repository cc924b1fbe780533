from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.builders import REQUEST_KEY, cached_audio
from tts_pipeline.cache.file_cache import FileCache, evict
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Answer, Audio, CachedAudio, Usage, Word
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store


def test_what_was_put_is_got_with_its_place(store: Store) -> None:
    """A store on a disk or at a URL returns every field; the origin begins with the store's label."""
    FileCache(store).put(REQUEST_KEY, 0, cached_audio())
    hit = FileCache(store, "s3://bucket/store").get(REQUEST_KEY, 0)
    assert hit == CachedAudio(cached_audio().answer, "s3://bucket/store#u1", 3)
    assert FileCache(store).get(REQUEST_KEY, 0) == cached_audio()


def test_an_answer_is_of_one_request_and_take(store: Store) -> None:
    """Another key, or another take, is another file."""
    answers = FileCache(store)
    answers.put(REQUEST_KEY, 0, cached_audio(b"zero"))
    answers.put(REQUEST_KEY, -1, cached_audio(b"minus one"))
    assert answers.get("cd" * 32, 0) is None
    assert answers.get(REQUEST_KEY, 1) is None
    assert (answers.get(REQUEST_KEY, -1) or cached_audio()).answer.audio.data == b"minus one"
    assert sorted(answers.keys()) == [(REQUEST_KEY, -1), (REQUEST_KEY, 0)]


def test_a_format_that_there_is_not_is_refused(store: Store) -> None:
    """The format would become a file name; the error names the file."""
    entry = cached_audio()
    hostile = replace(entry.answer, audio=replace(entry.answer.audio, format="../../x"))
    FileCache(store).put(REQUEST_KEY, 0, CachedAudio(hostile, "u1"))
    with pytest.raises(StorageError, match=REQUEST_KEY):
        FileCache(store).get(REQUEST_KEY, 0)


def test_what_no_answer_can_be_is_not_there(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A valid checksum does not prove valid values: wrong types and negative numbers are bought again."""
    answer, sound = cached_audio().answer, cached_audio().answer.audio
    for audio in ({"duration_ms": -1}, {"sample_rate_hz": 0}, {"channels": None}, {"duration_ms": "x"}):
        FileCache(store).put(REQUEST_KEY, 0, CachedAudio(replace(answer, audio=replace(sound, **audio)), "u1"))
        assert FileCache(store).get(REQUEST_KEY, 0) is None
    for values in ({"words": (Word("x", 0, 2**70, 0, 1),)}, {"request_id": 5}, {"quality": (None,)}, {"usage": None}):
        with suppress(TypeError):  # of what cannot even be written
            FileCache(store).put(REQUEST_KEY, 0, CachedAudio(replace(answer, **values), "u1"))
            assert FileCache(store).get(REQUEST_KEY, 0) is None
    assert all(REQUEST_KEY in message for message in caplog.messages)


@pytest.mark.parametrize(
    "name", ["x.answer", "ab.0.answer", *(f"{REQUEST_KEY}.{end}" for end in ("x.answer", "0.0.answer", "answer"))]
)
def test_names_that_are_none_of_ours_are_passed_over(store: Store, name: str) -> None:
    """Other files are not answers."""
    FileCache(store).put(REQUEST_KEY, 0, cached_audio())
    store.write(f"ab/{name}", b"")
    assert list(FileCache(store).keys()) == [(REQUEST_KEY, 0)]


def test_the_last_one_stays(store: Store) -> None:
    """The last of two purchases of a request stays: both are equally good."""
    answers = FileCache(store)
    answers.put(REQUEST_KEY, 0, cached_audio(b"first"))
    answers.put(REQUEST_KEY, 0, cached_audio(b"second", origin="u2"))
    assert answers.get(REQUEST_KEY, 0) == cached_audio(b"second", origin="u2")


def test_a_store_is_marked_once(store: Store) -> None:
    """A marker file says what the folder is."""
    for _ in range(2):
        FileCache(store).create()
    assert store.names("") == ["reuse.json"]
    assert list(FileCache(store).keys()) == []


@given(st.binary(max_size=300), st.text(max_size=20), st.lists(st.text(max_size=9), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_answer_comes_back_as_it_was(tmp_path: Path, data: bytes, origin: str, texts: list[str]) -> None:
    """Any audio, words and ids are returned unchanged."""
    audio = Audio(data, "mp3", 16_000, 2, 7)
    words = tuple(Word(text, 0, 1, None, None) for text in texts)
    entry = CachedAudio(Answer(0, audio, words, Usage(), None, ()), origin)
    answers = FileCache(LocalStore(tmp_path))
    answers.put(REQUEST_KEY, 0, entry)
    assert answers.get(REQUEST_KEY, 0) == entry


def _only_file(folder: Path) -> Path:
    (path,) = (path for path in folder.rglob("*.answer"))
    return path


def test_a_file_cut_anywhere_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A power cut may cut a file: one warning names it, and the answer is bought again."""
    answers = FileCache(LocalStore(tmp_path))
    answers.put(REQUEST_KEY, 0, cached_audio())
    path = _only_file(tmp_path)
    whole = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert answers.get(REQUEST_KEY, 0) is None
    assert [record.getMessage().startswith(f"{path} is damaged") for record in caplog.records] == [True]
    path.write_bytes(whole)
    assert answers.get(REQUEST_KEY, 0) is not None


def test_a_file_with_any_byte_changed_is_not_there(tmp_path: Path) -> None:
    """The checksum covers the record and the audio; the header's lengths must match the file's."""
    answers = FileCache(LocalStore(tmp_path))
    answers.put(REQUEST_KEY, 0, cached_audio())
    path = _only_file(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert answers.get(REQUEST_KEY, 0) is None


def test_a_file_under_another_name_is_not_taken(tmp_path: Path) -> None:
    """The file contains its key, which must match."""
    answers = FileCache(LocalStore(tmp_path))
    answers.put(REQUEST_KEY, 0, cached_audio())
    path = _only_file(tmp_path)
    path.rename(path.with_name(f"{REQUEST_KEY}.1.answer"))
    assert answers.get(REQUEST_KEY, 1) is None


def test_many_writers_of_one_answer_leave_one_whole(tmp_path: Path) -> None:
    """A concurrent reader finds a whole answer or none."""
    answers = FileCache(LocalStore(tmp_path))
    sizes: list[int] = []

    def write(number: int) -> None:
        for _ in range(20):
            answers.put(REQUEST_KEY, 0, cached_audio(bytes([number]) * 50_000))
            hit = answers.get(REQUEST_KEY, 0)
            assert hit is not None
            assert len(set(hit.answer.audio.data)) == 1
            sizes.append(len(hit.answer.audio.data))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [50_000] * 80
    assert [path.name for path in (tmp_path / "ab").iterdir()] == [f"{REQUEST_KEY}.0.answer"]


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "ab").write_bytes(b"in the way")
    with pytest.raises(StorageError, match=REQUEST_KEY):
        FileCache(LocalStore(tmp_path)).put(REQUEST_KEY, 0, cached_audio())


KEYS = [f"{number:064x}" for number in (7, 3, 2**255, 1, 5)]


@pytest.fixture
def full_cache(tmp_path: Path) -> FileCache:
    """Return a store of five answers, each a second younger than the one before."""
    cache = FileCache(LocalStore(tmp_path))
    cache.create()
    for age, key in enumerate(KEYS):
        cache.put(key, 0, CachedAudio(Answer(0, Audio(bytes(1_000), "wav", 24_000, 1, 20)), "origin"))
        (path,) = tmp_path.glob(f"*/{key}.0.answer")
        os.utime(path, (1_000 + age, 1_000 + age))
    return cache


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*.answer"))


@pytest.mark.parametrize("count", range(6))
def test_the_oldest_go_until_the_rest_fits(count: int, full_cache: FileCache, tmp_path: Path) -> None:
    """No more answers than necessary are removed; the others stay unchanged."""
    size_bytes = _bytes(tmp_path) // len(KEYS)
    assert evict(tmp_path, size_bytes * count + size_bytes // 2) == len(KEYS) - count
    assert {key for key in KEYS if full_cache.get(key, 0)} == set(KEYS[len(KEYS) - count :])
    assert _bytes(tmp_path) == size_bytes * count


def test_it_touches_nothing_else(full_cache: FileCache, tmp_path: Path) -> None:
    """The marker and other files stay."""
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "notes.txt").write_text("mine")
    evict(tmp_path, 0)
    assert list(full_cache.keys()) == []
    assert (tmp_path / "reuse.json").exists()
    assert (tmp_path / "ab" / "notes.txt").exists()


def test_what_is_not_there_needs_no_room(tmp_path: Path) -> None:
    """A missing folder is no error."""
    assert evict(tmp_path / "none", 0) == 0
