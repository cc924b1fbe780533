"""Locate the folders of a job's journals and locks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tts_pipeline.job.job import Job
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.location import check_utf8_name, is_local, local_path
from tts_pipeline.storage.safe_folder import SafeFolder
from tts_pipeline.storage.scratch import state_folder
from tts_pipeline.storage.store import Store, storage_errors

WORK_FOLDER = ".work"
"""The folder for journals and locks inside a local destination; hidden from listings of the dataset."""

JOURNALS = "journals"
"""The folder of journals inside a work folder."""


def work_dir_of(job: Job) -> Path:
    """Return the folder of a job's journals: always on a local disk, and separate for each destination.

    A link in this folder is refused: it would lead writes elsewhere.
    """
    work_dir = _work_dir(job)
    with storage_errors(f"looking into {work_dir}"):
        for folder in (work_dir, *work_dir.glob("generation-*")):
            inner = str(folder.relative_to(work_dir.parent))
            SafeFolder(work_dir.parent, inner).check_no_links("", JOURNALS, "locks", "repeated", "staging")
    return work_dir


def _work_dir(job: Job) -> Path:
    destination, work_dir = os.fspath(job.destination), job.options.work_dir
    if work_dir is None and is_local(destination):
        return local_path(destination) / WORK_FOLDER
    folder = state_folder() if work_dir is None else local_path(work_dir)
    check_utf8_name(str(folder))
    real_destination = os.path.realpath(local_path(destination)) if is_local(destination) else destination.rstrip("/")
    return folder / hashlib.sha256(os.fsencode(real_destination)).hexdigest()[:16]


def locks_dir_of(home: Store, work_dir: Path) -> Path:
    """Return the folder of a destination's locks; a link is refused."""
    if not isinstance(home, LocalStore):
        return work_dir / "locks"
    with storage_errors(f"looking into {home.folder}"):
        SafeFolder(home.folder).check_no_links(f"{WORK_FOLDER}/locks")
    return home.folder / WORK_FOLDER / "locks"


def make_leases(job: Job, home: Store, work_dir: Path) -> Leases:
    """Return a process's leases of a destination; none is held yet."""
    return Leases(home, locks_dir_of(home, work_dir), job.options.lease_s)
