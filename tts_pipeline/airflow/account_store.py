"""Read the account store from an Airflow connection, and mask its password."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from tts_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection

_POSTGRES = ("postgres", "postgresql")
_LIBPQ_FIELDS = ("options", "target_session_attrs")
"""Fields of a connection that libpq knows, besides those that begin with ``ssl``; others are of Airflow's hook."""


def read_store(value: str) -> str:
    """Return the setting that a connection's field names: a URL, a path, ``none``, or the id of a connection.

    A text with a slash is a URL or a path. The connection is read from Airflow here, synchronously.

    Raises:
        ConfigurationError: There is no such connection, or it is not one to PostgreSQL. Never retried.
    """
    from tts_pipeline.account.location import NO_STORE

    setting = value if "/" in value or value == NO_STORE else _url_of(value)
    mask_passwords(setting)
    return setting


def mask_passwords(setting: str) -> None:
    """Mask the passwords of an account store in Airflow's logs from now on."""
    from tts_pipeline.account.location import passwords_of

    for password in passwords_of(setting):
        mask_secret(password)


def _url_of(conn_id: str) -> str:
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        hint = "add it under Admin, Connections; a path has a slash, such as ./account.db"
        raise ConfigurationError(f"Airflow has no connection {conn_id!r} for the account store", hint=hint) from error
    if connection.conn_type not in _POSTGRES:
        raise ConfigurationError(
            f"the connection {conn_id!r} for the account store is of type {connection.conn_type!r}",
            hint="give one of type Postgres",
        )
    return _to_url(connection)


def _to_url(connection: Connection) -> str:
    """Return the URL for libpq; that of Airflow may have fields of its own."""
    user = quote(connection.login or "", safe="")
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    host = connection.host or ""
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    port = f":{connection.port}" if connection.port else ""
    fields = {
        name: value
        for name, value in connection.extra_dejson.items()
        if isinstance(value, str | int) and (name in _LIBPQ_FIELDS or name.startswith("ssl"))
    }
    return (
        f"postgresql://{user}{password}{'@' if user or password else ''}{host}{port}"
        f"/{quote(connection.schema or '', safe='')}{'?' if fields else ''}{urlencode(fields, quote_via=quote)}"
    )
