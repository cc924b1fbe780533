"""Resolve paths in Airflow (URLs, object storage paths, connections) for the core."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.location import FsspecPath, is_local

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    AnyPath = str | os.PathLike[str] | ObjectStoragePath


def resolve_path(path: AnyPath, conn_id: str | None = None) -> str | FsspecPath:
    """Convert a path, a URL, an ``ObjectStoragePath`` or ``s3://my_conn@bucket/folder`` for the core.

    The path is opened by the connection ``conn_id``, else by the one in the path; without a connection, the fsspec
    driver finds its credentials itself. With a connection, the result holds the file system that Airflow's provider
    makes from it. The connection is read here, synchronously, and a dataset does not store it.

    Raises:
        ConfigurationError: No Airflow provider is installed for this kind of storage. Never retried.
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
    """Return the id of the connection that opens a path; None without a connection. See ``resolve_path``."""
    from airflow.sdk import ObjectStoragePath

    text = _text(path)
    return None if is_local(text) else conn_id or ObjectStoragePath(text).conn_id


def _text(path: AnyPath) -> str:
    return os.fspath(path) if isinstance(path, str | os.PathLike) else str(path)
