"""Scratch folders: in the work folder, the user's cache, or the system's temporary folder.

In containers the home is often missing, read-only or nobody's; what only has to be somewhere then goes elsewhere.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.location import local_path, utf8_name

APP_NAME = "tts-pipeline"
WORK_DIR_HINT = "give `work_dir` a folder on a local disk that can be written"


@contextmanager
def scratch_folder(work_dir: Path | None = None, prefix: str = "scratch-") -> Iterator[Path]:
    """Give a new folder, in ``work_dir`` where that can be written; it is removed when the block ends. Blocking."""
    with tempfile.TemporaryDirectory(dir=scratch_root(work_dir), prefix=prefix) as folder:
        yield Path(folder)


def scratch_root(work_dir: Path | None = None) -> Path:
    """Return a folder of ours that can be written, ``work_dir`` if possible, made where it was not there. Blocking."""
    for candidate in _candidates(work_dir):
        if utf8_name(str(candidate)) == str(candidate) and is_writable(candidate):
            return candidate
    tried = ", ".join(map(str, _candidates(work_dir)))
    raise StorageError(
        f"no folder for temporary files can be written (tried {tried})", hint=f"{WORK_DIR_HINT}, or set TMPDIR"
    )


def state_folder() -> Path:
    """Return where journals are that have no other place: in the user's state, which outlives a restart."""
    folder = _user_folder(platformdirs.user_state_dir)
    if folder is None:
        raise StorageError("no home is known for journals", hint=f"{WORK_DIR_HINT}, or set HOME")
    return folder


def is_writable(folder: Path) -> bool:
    """Say whether files can be made in a folder, after it was made itself where it was not there. Blocking."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds texts and voices
        with tempfile.TemporaryFile(dir=folder):
            return True
    return False


def _user_folder(directory: Callable[[str], str]) -> Path | None:
    """Return a folder in the user's home; None where nobody knows that."""
    with suppress(RuntimeError):  # of platformdirs 4.11; earlier ones give a folder in one that is named ``~``
        folder = Path(directory(APP_NAME))
        return folder if folder.is_absolute() else None
    return None


def _candidates(work_dir: Path | None) -> Iterator[Path]:
    if work_dir is not None:
        yield local_path(work_dir)
    cache = _user_folder(platformdirs.user_cache_dir)
    if cache is not None:
        yield cache
    with suppress(FileNotFoundError):
        shared = Path(tempfile.gettempdir()) / f"{APP_NAME}-{os.getuid()}"
        if not shared.exists() or _is_private(shared):  # everybody may make folders there
            yield shared


def _is_private(folder: Path) -> bool:
    status = folder.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022 and not folder.is_symlink()
