"""Find folders for temporary files: in the work folder, the user's cache, or the system's temporary folder.

In containers the home is often missing, read-only or another user's; temporary files then go to another place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.location import local_path, utf8_name

APP_NAME = "tts-pipeline"
WORK_DIR_HINT = "set `work_dir` to a writable folder on a local disk"


@contextmanager
def scratch_folder(work_dir: Path | None = None, prefix: str = "scratch-") -> Iterator[Path]:
    """Give a new folder, in ``work_dir`` if that is writable; it is removed when the block ends. Blocking."""
    with tempfile.TemporaryDirectory(dir=scratch_root(work_dir), prefix=prefix) as folder:
        yield Path(folder)


def scratch_root(work_dir: Path | None = None) -> Path:
    """Return a writable folder of ours, ``work_dir`` if possible; make it if it is missing. Blocking."""
    for candidate in _candidates(work_dir):
        if utf8_name(str(candidate)) == str(candidate) and is_writable(candidate):
            return candidate
    folders = ", ".join(map(str, _candidates(work_dir)))
    raise StorageError(
        f"no folder for temporary files is writable (tried {folders})", hint=f"{WORK_DIR_HINT}, or set TMPDIR"
    )


def state_folder() -> Path:
    """Return the default folder for journals: the user's state folder, which survives a restart."""
    folder = _user_folder("user_state_dir")
    if folder is None:
        raise StorageError("no home folder is known for journals", hint=f"{WORK_DIR_HINT}, or set HOME")
    return folder


def is_writable(folder: Path) -> bool:
    """Return whether files can be made in a folder; make the folder if it is missing. Blocking."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds texts and voices
        with tempfile.TemporaryFile(dir=folder):
            return True
    return False


def _user_folder(name: Literal["user_state_dir", "user_cache_dir"]) -> Path | None:
    """Return a folder in the user's home; None if no home is known."""
    import platformdirs  # takes 10 ms: with a local destination, nothing is kept in the home

    with suppress(RuntimeError):  # from platformdirs 4.11; earlier versions return a relative folder ``~/…``
        folder = Path(getattr(platformdirs, name)(APP_NAME))
        return folder if folder.is_absolute() else None
    return None


def _candidates(work_dir: Path | None) -> Iterator[Path]:
    if work_dir is not None:
        yield local_path(work_dir)
    cache = _user_folder("user_cache_dir")
    if cache is not None:
        yield cache
    with suppress(FileNotFoundError):
        shared = Path(tempfile.gettempdir()) / f"{APP_NAME}-{os.getuid()}"
        if not shared.exists() or _is_private(shared):  # any user may make folders there
            yield shared


def _is_private(folder: Path) -> bool:
    status = folder.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022 and not folder.is_symlink()
