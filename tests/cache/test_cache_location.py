from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.builders import REQUEST_KEY, cached_audio, descriptor_of
from tests.datasets import Bench
from tts_pipeline.cache.cache_location import find_cache
from tts_pipeline.cache.dataset_cache import DatasetCache
from tts_pipeline.cache.file_cache import MARKER, FileCache
from tts_pipeline.config import AudioSettings
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.local_store import LocalStore

RECEIVED = AudioSettings()


def _dataset(folder: Path, *, audio_format: str = "as-received") -> Path:
    out = folder / "out"
    bench = Bench.of(folder, LocalStore(out), rows=3)
    bench.run()
    job = {"audio_format": audio_format, "sample_rate_hz": None, "pause_ms": 300}
    (out / DESCRIPTOR_FILE).write_bytes(descriptor_of(3, 500, job).to_json())
    return out


def test_nothing_yet_becomes_a_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``find_cache`` writes nothing; ``create`` warns that the store is new, in case another one was meant."""
    place = tmp_path / "new" / "store"
    location = find_cache(place, tmp_path / "staging")
    assert (location.is_new, list(tmp_path.iterdir())) == (True, [])
    location.create()
    cache = location.open(RECEIVED)
    assert isinstance(cache, FileCache)
    assert [path.name for path in place.iterdir()] == [MARKER]
    assert f"{place} is not a reuse store yet: this run makes it one" in caplog.text
    cache.put(REQUEST_KEY, 0, cached_audio())
    caplog.clear()
    location = find_cache(place, tmp_path / "staging")
    location.create()
    again = location.open(RECEIVED)
    assert again.get(REQUEST_KEY, 0) == cached_audio(origin=f"{place}#u1")
    assert caplog.text == ""


def test_a_dataset_is_known_by_its_descriptor(tmp_path: Path) -> None:
    """Its speech is reused, and nothing is written to it."""
    cache = find_cache(_dataset(tmp_path), tmp_path / "staging").open(RECEIVED)
    assert isinstance(cache, DatasetCache)
    assert len(cache) == 3
    assert not hasattr(cache, "put")


def test_a_dataset_of_which_nothing_can_be_taken_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the warning, all audio would silently be bought again."""
    out = _dataset(tmp_path, audio_format="flac")
    assert len(find_cache(out, tmp_path / "staging").open(AudioSettings("flac"))) == 3  # type: ignore[arg-type]
    assert caplog.text == ""
    find_cache(out, tmp_path / "staging").open(RECEIVED)
    assert f"no audio can be reused from the dataset {out}" in caplog.text


def test_a_place_at_a_url_is_called_without_its_password(tmp_path: Path) -> None:
    """Tables contain the label."""
    url = f"memory://user:secret@{uuid.uuid4().hex}/store"
    location = find_cache(url, tmp_path / "staging")
    assert location.label == url.replace("user:secret@", "")
    assert isinstance(location.open(RECEIVED), FileCache)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("holiday.jpg", b"", "neither a dataset nor a reuse store"),
        (MARKER, b'{"format_version": 2}', "of format 2, not 1"),
        (MARKER, b"not JSON", "of format None, not 1"),
        (MARKER, b"[]", "of format None, not 1"),
        (DESCRIPTOR_FILE, b'{"format_version": 99}', "of format 99"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """No other folder is filled with answers, and a store of another version is not misread."""
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as exc_info:
        find_cache(tmp_path / "place", tmp_path / "staging")
    assert exc_info.value.hint


def test_a_place_that_cannot_be_used_is_a_wrong_setting(tmp_path: Path) -> None:
    """A file in place of a folder, an unknown protocol, and a folder below a file are all refused."""
    (tmp_path / "file").write_bytes(b"")
    for place in (str(tmp_path / "file"), "nosuch://bucket/store"):
        with pytest.raises(ConfigurationError):
            find_cache(place, tmp_path / "staging")
    with pytest.raises(ConfigurationError, match="cannot use"):
        find_cache(tmp_path / "file" / "below", tmp_path / "staging").create()
