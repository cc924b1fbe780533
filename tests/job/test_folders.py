"""The folders of a job's journals and locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import job_of, write_lines
from tts_pipeline.errors import StorageError
from tts_pipeline.job.folders import work_dir_of
from tts_pipeline.job.prepare import prepare


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))


def test_journals_are_inside_a_local_destination(tmp_path: Path) -> None:
    """In a hidden folder, so that they are no part of the dataset."""
    assert work_dir_of(job_of(tmp_path)) == tmp_path / "out" / ".work"


def test_journals_of_an_object_store_are_in_the_users_state(tmp_path: Path) -> None:
    """Each destination has a separate folder, with or without a slash at the end of its URL."""
    folder = work_dir_of(job_of(tmp_path, destination="s3://bucket/one"))
    assert folder.parent == tmp_path / "home" / "state" / "tts-pipeline"
    assert folder == work_dir_of(job_of(tmp_path, destination="s3://bucket/one/"))
    assert folder != work_dir_of(job_of(tmp_path, destination="s3://bucket/two"))


def test_one_work_folder_for_two_destinations_keeps_them_apart(tmp_path: Path) -> None:
    """Journals of one dataset never count for another."""
    changes: dict[str, Any] = {"options": {"work_dir": tmp_path / "work"}}
    first, second = (work_dir_of(job_of(tmp_path, destination=tmp_path / name, **changes)) for name in ("a", "b"))
    assert first != second
    assert first.parent == second.parent == tmp_path / "work"
    remote = work_dir_of(job_of(tmp_path, destination="s3://bucket/a", **changes))
    assert remote.parent == tmp_path / "work"
    assert remote not in {first, second}


def test_locks_are_at_a_local_destination_wherever_the_journals_are(tmp_path: Path) -> None:
    """All runs on one machine share them there; for an object store they share the work folder."""
    write_lines(tmp_path / "lines.parquet")
    changes: dict[str, Any] = {"options": {"work_dir": tmp_path / "work"}}
    assert prepare(job_of(tmp_path, **changes)).leases.lock_folder == tmp_path / "out" / ".work" / "locks"
    remote = prepare(job_of(tmp_path, destination="memory://prepared/out", **changes))
    assert remote.leases.lock_folder == work_dir_of(remote.job) / "locks"


@pytest.mark.parametrize("work_dir", [None, "elsewhere"])
@pytest.mark.parametrize("planted", ["", "journals", "locks", "journals/part-00000-x.journal"])
def test_a_link_in_the_work_folder_is_refused(tmp_path: Path, planted: str, work_dir: str | None) -> None:
    """It would lead writes elsewhere; the destination and the named folder may be links."""
    write_lines(tmp_path / "lines.parquet")
    for name in ("out", "elsewhere"):
        (tmp_path / f"real-{name}").mkdir()
        (tmp_path / name).symlink_to(tmp_path / f"real-{name}")
    job = job_of(tmp_path, options={"work_dir": None if work_dir is None else tmp_path / work_dir})
    place = work_dir_of(job) / planted
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError, match=f"{place} is a link"):
        prepare(job)
