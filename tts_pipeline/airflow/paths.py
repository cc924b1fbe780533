"""Paths in Airflow: URLs, object storage paths, connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.location import FsspecPath, is_local

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    AnyPath = str | os.PathLike[str] | ObjectStoragePath


def resolve_path(path: AnyPath, conn_id: str | None = None) -> str | FsspecPath:
    """Return a place as the core takes it: a path, a URL, an ``ObjectStoragePath``, or ``s3://my_conn@bucket/folder``.

    The connection that opens it is ``conn_id``, else the one in the path; without any, the fsspec driver finds its
    credentials itself. With a connection the place comes with the file system that Airflow's provider makes of it. The
    connection is looked up here, synchronously, and is no part of what a dataset remembers.

    Raises:
        ConfigurationError: No provider of Airflow's is installed for that kind of storage.
    """
    from airflow.sdk import ObjectStoragePath

    text = _text(path)
    if is_local(text):
        return text
    storage_path, connection_id = ObjectStoragePath(text), connection_of(path, conn_id)
    url = f"{storage_path.protocol}://{storage_path.path}"
    if connection_id is None:
        return url
    try:
        return FsspecPath(url, ObjectStoragePath(url, conn_id=connection_id).fs)
    except ValueError as error:
        hint = "install the provider of that storage, such as apache-airflow-providers-amazon[s3fs]"
        raise ConfigurationError(f"the connection {connection_id!r} cannot open {url!r}: {error}", hint=hint) from error


def connection_of(path: AnyPath, conn_id: str | None = None) -> str | None:
    """Return the id of the connection that opens a place; None where none does. See ``resolve_path``."""
    from airflow.sdk import ObjectStoragePath

    text = _text(path)
    return None if is_local(text) else conn_id or ObjectStoragePath(text).conn_id


def _text(path: AnyPath) -> str:
    return os.fspath(path) if isinstance(path, str | os.PathLike) else str(path)
