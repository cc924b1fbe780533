"""Tests of the folders of temporary files on machines without a usable home."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.scratch import scratch_folder, scratch_root, state_folder

NOWHERE = "/dev/null/nowhere"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Return a work folder, a cache and a temporary folder of this test, none of them made."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    own = tmp_path / "tmp" / f"tts-pipeline-{os.getuid()}"
    return {"work": tmp_path / "work", "cache": tmp_path / "cache" / "tts-pipeline", "tmp": own}


def test_the_first_place_that_can_be_written_is_taken(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is work folder, user's cache, system's folder; if none is writable, the error says what to set."""
    assert scratch_root(places["work"]) == places["work"]
    assert scratch_root() == scratch_root(Path(NOWHERE)) == places["cache"]
    monkeypatch.setenv("XDG_CACHE_HOME", NOWHERE)
    assert scratch_root() == places["tmp"]
    with scratch_folder() as folder:
        assert folder.parent == places["tmp"]
    assert not folder.exists()
    monkeypatch.setattr(tempfile, "tempdir", NOWHERE)
    with pytest.raises(StorageError, match=NOWHERE) as exc_info:
        scratch_root()
    assert "`work_dir`" in (exc_info.value.hint or "")
    assert "TMPDIR" in (exc_info.value.hint or "")
    assert scratch_root(places["work"]) == places["work"]


@pytest.mark.parametrize("is_link", [True, False])
def test_what_others_put_into_the_systems_place_is_not_taken(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, is_link: bool
) -> None:
    """A link, or a folder that any user may write to, may be a trap, and is not used."""
    monkeypatch.setenv("XDG_CACHE_HOME", NOWHERE)
    if is_link:
        places["tmp"].symlink_to(places["tmp"].parent)
    else:
        places["tmp"].mkdir()
        places["tmp"].chmod(0o777)
    with pytest.raises(StorageError, match="no folder for temporary files"):
        scratch_root()


def test_journals_are_not_kept_where_nobody_knows_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder named ``~`` is not a home; the hint says what to set."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(StorageError, match="no home") as exc_info:
        state_folder()
    assert "`work_dir`" in (exc_info.value.hint or "")
    assert scratch_root().is_absolute()
