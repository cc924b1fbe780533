"""Open the store of a destination: a local path or an fsspec URL."""

from __future__ import annotations

import os
from pathlib import Path

from tts_pipeline.errors import ConfigurationError, cause_of
from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.location import check_utf8_name, filesystem_of, is_local, local_path
from tts_pipeline.storage.store import Store


def open_store(destination: str | os.PathLike[str], staging: Path | None = None) -> Store:
    """Open a destination: a local path, or any fsspec URL (``s3://``, ``gs://``, ``abfs://``, ``memory://``).

    ``staging`` is a local folder for files on their way to an object store; None makes a temporary folder for each.

    Raises:
        ConfigurationError: The driver of the URL's protocol is missing, or the name is not UTF-8.
    """
    text = os.fspath(destination)
    folder = local_path(text) if is_local(text) else None
    check_utf8_name(text if folder is None else str(folder))
    if folder is not None:
        return LocalStore(folder)
    try:
        filesystem, path = filesystem_of(destination)
    except (ImportError, ValueError) as error:
        hint = "install the fsspec driver for this URL, such as s3fs, gcsfs or adlfs"
        raise ConfigurationError(f"cannot open the destination {text!r}: {error}", hint=hint) from cause_of(error)
    return FsspecStore(filesystem, path, url=text, staging=staging)
