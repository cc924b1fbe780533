"""The hook: an Airflow connection of type ``speech`` as a service with its key and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from tts_pipeline.config import Limits
from tts_pipeline.errors import ConfigurationError, ServiceError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from tts_pipeline.catalog import AnyCatalog, Service

_LIMIT_FIELDS = ("max_concurrency", "requests_per_minute", "characters_per_minute")
_TEXT_FIELDS = ("dialect", "account", "key_header", "key_prefix", "ca_file", "proxy")
_TABLE_FIELDS = ("query", "headers")
_KEY_REFUSED_STATUSES = (401, 403)


class SpeechHook(BaseHook):
    """Reads a connection of type ``speech``.

    Host is a service's name (``modelstream``) or a base URL, password the key; the other fields are those of the
    form. The same as JSON in an environment variable::

        AIRFLOW_CONN_SPEECH_DEFAULT='{"conn_type": "speech", "host": "modelstream", "password": "...",
                                      "extra": {"requests_per_minute": 180, "account": "newsroom"}}'

    Everything is asked of Airflow at once and synchronously, before an event loop runs.

    Args:
        speech_conn_id: The connection.
        catalog: Services and cards, or the TOML file of your own; None is the built-in catalog.
    """

    conn_name_attr = "speech_conn_id"
    default_conn_name = "speech_default"
    conn_type = "speech"
    hook_name = "Speech"

    def __init__(self, speech_conn_id: str = default_conn_name, catalog: AnyCatalog | None = None) -> None:
        super().__init__()
        self.speech_conn_id = speech_conn_id
        self._catalog = catalog
        self._connection: Connection | None = None

    def get_conn(self) -> Service:
        """Return the service, with its key, which is masked in Airflow's logs from here on.

        Without a password in the connection, the key is the one that the worker's environment has for that service.

        Raises:
            ConfigurationError: The service is unknown, the URL is none, or the key is missing. Never retried.
        """
        from tts_pipeline.catalog.keys import environment, with_key
        from tts_pipeline.catalog.route import route_of

        connection = self._load_connection()
        service = self._find_service(connection)
        if connection.password:
            service = replace(service, api_key=connection.password.strip())
        try:
            keyed = with_key(service, environment())
        except ConfigurationError as error:
            hint = f"put the key into the password of the connection {self.speech_conn_id!r}"
            raise ConfigurationError(error.message, hint="; ".join(filter(None, (hint, error.hint)))) from None
        if keyed.api_key:
            mask_secret(keyed.api_key)  # Airflow masks the connection's password, which may be longer by white space
        for password in route_of(keyed, environment()).passwords:
            mask_secret(password)
        return keyed

    def limits(self, own: Limits | None = None) -> Limits:
        """Return a job's limits within those of the connection: the stricter of both.

        Args:
            own: The job's; None is the defaults.

        Returns:
            The job's, with the connection's timeout where it gives one.

        Raises:
            ConfigurationError: A field of the connection is no number above 0. Never retried.
        """
        limits, extra = own or Limits(), self._load_connection().extra_dejson
        ceilings = {name: self._read_number(extra, name) for name in (*_LIMIT_FIELDS, "timeout_s")}
        changes: dict[str, Any] = {}
        for name in _LIMIT_FIELDS:
            candidates = [value for value in (getattr(limits, name), ceilings[name]) if value is not None]
            changes[name] = min(candidates, default=None)
        changes["max_concurrency"] = int(changes["max_concurrency"])
        changes["timeout_s"] = ceilings["timeout_s"] or limits.timeout_s
        return replace(limits, **changes)

    def report_url(self) -> str | None:
        """Return the address of a dataset's page, with ``{dataset}`` in it; None when the connection gives none."""
        return self._load_connection().extra_dejson.get("report_url") or None

    def test_connection(self) -> tuple[bool, str]:
        """Say whether the service answers and takes the key; buys nothing."""
        from tts_pipeline.http.probe import probe
        from tts_pipeline.wire.redirect import REDIRECTS

        try:
            service = self.get_conn()
            status = probe(service)
        except (ConfigurationError, ServiceError) as error:
            return False, str(error)
        if status in _KEY_REFUSED_STATUSES:
            return False, f"{service.name} answers, and refuses the key (status {status})"
        if status < 300:
            return True, f"{service.name} answers and takes the key"
        if status in REDIRECTS:
            return False, f"{service.name} redirects to another address (status {status}): give that one"
        if status < 500:
            unknown = "whether it takes the key shows with the first request"
            return True, f"{service.name} answers (status {status}); {unknown}"
        return False, f"{service.name} answers with status {status}: try again later"

    def _load_connection(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = self.get_connection(self.speech_conn_id)
            except AirflowNotFoundException as error:
                hint = "make it under Admin, Connections, with the connection type Speech"
                raise ConfigurationError(f"there is no connection {self.speech_conn_id!r}", hint=hint) from error
        return self._connection

    def _find_service(self, connection: Connection) -> Service:
        from tts_pipeline.catalog import load_catalog
        from tts_pipeline.catalog.service import normalise_url

        catalog, extra = load_catalog(self._catalog), connection.extra_dejson
        host, name = _address(connection), extra.get("service")
        if not host and not name:
            hint = "give it a host: a service's name or a base URL"
            raise ConfigurationError(f"the connection {self.speech_conn_id!r} names no service", hint=hint)
        service = catalog.service(name or host)
        if name and host:
            service = replace(service, base_url=normalise_url(host))
        if not service.base_url:
            hint = "start `tts-pipeline emulate` and give the connection its URL"
            raise ConfigurationError("the service 'local' has no address of its own here", hint=hint)
        overrides: dict[str, Any] = {key: str(extra[key]) for key in _TEXT_FIELDS if extra.get(key)}
        overrides |= {key: self._read_text_table(extra, key) for key in _TABLE_FIELDS if extra.get(key)}
        return replace(service, **overrides)

    def _read_text_table(self, extra: Mapping[str, Any], name: str) -> dict[str, str]:
        """Read a field of names and values; the form of a connection gives it as the text of a JSON object."""
        value = extra[name]
        try:
            return msgspec.convert(msgspec.json.decode(value) if isinstance(value, str) else value, dict[str, str])
        except (msgspec.MsgspecError, UnicodeError):
            message = f"{name} of the connection {self.speech_conn_id!r} is not an object of texts"
            raise ConfigurationError(message, hint='write it as {"api-version": "2025-03-01"}') from None

    def _read_number(self, extra: Mapping[str, Any], name: str) -> float | None:
        value = extra.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = 0.0
        if not 0 < number < math.inf:
            raise ConfigurationError(
                f"{name} of the connection {self.speech_conn_id!r} is {value!r}", hint="give a number above 0"
            )
        return number


def _address(connection: Connection) -> str:
    """Return the service's name or URL; a connection that was given as a URI has its parts apart."""
    from tts_pipeline.catalog.service import is_loopback

    host, port = connection.host or "", connection.port
    if "://" in host or not port:
        return host
    scheme = connection.schema or ("http" if is_loopback(f"http://{host}") else "https")
    return f"{scheme}://{host}:{port}"
