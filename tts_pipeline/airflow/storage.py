"""Where sources and datasets are, as Airflow names places: URLs, object storage paths, connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tts_pipeline.dataset.location import FsspecPath, is_local
from tts_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    Place = str | os.PathLike[str] | ObjectStoragePath


def located(place: Place, conn_id: str | None = None) -> str | FsspecPath:
    """Return a place as the core takes it.

    Args:
        place: A path, a URL, an ``ObjectStoragePath``, or a URL with a connection (``s3://my_conn@bucket/folder``).
        conn_id: The connection that opens it; None is the one in ``place``, and without any the fsspec driver finds
            its credentials itself.

    Returns:
        A path or URL; with a connection, together with the file system that Airflow's provider makes of it. The
        connection is looked up here, synchronously, and is no part of what a dataset remembers.

    Raises:
        ConfigurationError: No provider of Airflow's is installed for that kind of storage.
    """
    from airflow.sdk import ObjectStoragePath

    text = _text(place)
    if is_local(text):
        return text
    path, used = ObjectStoragePath(text), connection_of(place, conn_id)
    url = f"{path.protocol}://{path.path}"
    if used is None:
        return url
    try:
        return FsspecPath(url, ObjectStoragePath(url, conn_id=used).fs)
    except ValueError as error:
        hint = "install the provider of that storage, such as apache-airflow-providers-amazon[s3fs]"
        raise ConfigurationError(f"the connection {used!r} cannot open {url!r}: {error}", hint=hint) from error


def connection_of(place: Place, conn_id: str | None = None) -> str | None:
    """Return the id of the connection that opens a place; None where none does. See ``located``."""
    from airflow.sdk import ObjectStoragePath

    text = _text(place)
    return None if is_local(text) else conn_id or ObjectStoragePath(text).conn_id


def _text(place: Place) -> str:
    return os.fspath(place) if isinstance(place, str | os.PathLike) else str(place)
