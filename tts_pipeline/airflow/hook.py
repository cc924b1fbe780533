"""Read an Airflow connection of type ``speech`` as a service with its key and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from tts_pipeline.airflow.account_store import read_store
from tts_pipeline.airflow.paths import resolve_path
from tts_pipeline.config import Limits
from tts_pipeline.errors import ConfigurationError, TtsPipelineError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from tts_pipeline.catalog import AnyCatalog, Service
    from tts_pipeline.storage.location import FsspecPath

_COUNT_FIELDS = ("max_concurrency", "account_concurrency")
_LIMIT_FIELDS = (*_COUNT_FIELDS, "requests_per_minute", "characters_per_minute")
_TEXT_FIELDS = ("dialect", "account", "key_header", "key_prefix", "ca_file", "proxy")
_TABLE_FIELDS = ("query", "headers")
_KEY_REFUSED_STATUSES = (401, 403)


class SpeechHook(BaseHook):
    """Reads a connection of type ``speech``.

    The host is a service's name (``modelstream``) or a base URL, the password is the key; the form has the other
    fields. A connection as JSON in an environment variable::

        AIRFLOW_CONN_SPEECH_DEFAULT='{"conn_type": "speech", "host": "modelstream", "password": "...",
                                      "extra": {"requests_per_minute": 180, "account": "newsroom"}}'

    The hook reads the connection from Airflow once, synchronously, before an event loop runs.

    Args:
        speech_conn_id: The connection's id.
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
        """Return the service with its key, and mask the key in Airflow's logs from now on.

        If the connection has no password, the key comes from the service's variable in the worker's environment.

        Raises:
            ConfigurationError: The service is unknown, the URL is invalid, or the key is missing. Never retried.
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
            # Airflow masks only the whole password, which may have white space around the key.
            mask_secret(keyed.api_key)
        for password in route_of(keyed, environment()).passwords:
            mask_secret(password)
        return keyed

    def limits(self, own: Limits | None = None) -> Limits:
        """Return the stricter of the job's and the connection's limits.

        Args:
            own: The job's limits; None is the defaults.

        Returns:
            The limits; their timeout is the connection's if it has one, else the job's.

        Raises:
            ConfigurationError: A field of the connection is not a number above 0. Never retried.
        """
        limits, extra = own or Limits(), self._load_connection().extra_dejson
        ceilings = {name: self._read_number(extra, name) for name in (*_LIMIT_FIELDS, "timeout_s")}
        changes: dict[str, Any] = {}
        for name in _LIMIT_FIELDS:
            candidates = [value for value in (getattr(limits, name), ceilings[name]) if value is not None]
            changes[name] = min(candidates, default=None)
        changes |= {name: int(changes[name]) for name in _COUNT_FIELDS if changes[name] is not None}
        changes["timeout_s"] = ceilings["timeout_s"] or limits.timeout_s
        return replace(limits, **changes)

    def account_store(self) -> str | None:
        """Return the setting of the account store; None if the connection has none. Its password is masked from now on.

        Raises:
            ConfigurationError: The field names a connection that is missing, or not one to PostgreSQL. Never retried.
        """
        value = str(self._load_connection().extra_dejson.get("account_store") or "").strip()
        return read_store(value) if value else None

    def ledger(self) -> str | FsspecPath | None:
        """Return where usage is kept; None if the connection does not say it.

        Raises:
            ConfigurationError: No Airflow provider is installed for this kind of storage. Never retried.
        """
        value = str(self._load_connection().extra_dejson.get("ledger") or "").strip()
        return resolve_path(value) if value else None

    def report_url(self) -> str | None:
        """Return the address of a dataset's page, with ``{dataset}`` in it; None if the connection has none."""
        return self._load_connection().extra_dejson.get("report_url") or None

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the service answers and accepts the key, and the account store can be used, with a message.

        Nothing is bought.
        """
        try:
            is_good, message = self._test_service()
            store_message = self._test_store() if is_good else ""
        except TtsPipelineError as error:
            return False, str(error)
        return is_good, f"{message}{store_message}"

    def _test_service(self) -> tuple[bool, str]:
        from tts_pipeline.http.probe import probe
        from tts_pipeline.wire.redirect import REDIRECTS

        service = self.get_conn()
        status = probe(service)
        if status in _KEY_REFUSED_STATUSES:
            return False, f"{service.name} answers, and refuses the key (status {status})"
        if status < 300:
            return True, f"{service.name} answers and accepts the key"
        if status in REDIRECTS:
            return False, f"{service.name} redirects to another address (status {status}): give that address as host"
        if status < 500:
            unknown = "only the first request can show whether it accepts the key"
            return True, f"{service.name} answers (status {status}); {unknown}"
        return False, f"{service.name} answers with status {status}: try again later"

    def _test_store(self) -> str:
        from tts_pipeline.account.location import find_store
        from tts_pipeline.account.probe import count_workers

        setting = self.account_store()
        location = find_store(setting) if setting else None
        if location is None:
            return ""
        return f"; the account store {location} can be used, and {count_workers(location)} runs use it now"

    def _load_connection(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = self.get_connection(self.speech_conn_id)
            except AirflowNotFoundException as error:
                hint = "add it under Admin, Connections, with the connection type Speech"
                raise ConfigurationError(f"Airflow has no connection {self.speech_conn_id!r}", hint=hint) from error
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
            raise ConfigurationError("the service 'local' has no fixed address", hint=hint)
        overrides: dict[str, Any] = {key: str(extra[key]) for key in _TEXT_FIELDS if extra.get(key)}
        overrides |= {key: self._read_text_table(extra, key) for key in _TABLE_FIELDS if extra.get(key)}
        return replace(service, **overrides)

    def _read_text_table(self, extra: Mapping[str, Any], name: str) -> dict[str, str]:
        """Read a field of names and values, which the connection's form stores as the text of a JSON object."""
        value = extra[name]
        try:
            return msgspec.convert(msgspec.json.decode(value) if isinstance(value, str) else value, dict[str, str])
        except (msgspec.MsgspecError, UnicodeError):
            message = f"{name} of the connection {self.speech_conn_id!r} is not a JSON object of texts"
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
    """Return the service's name or URL; a connection given as a URI stores scheme, host and port in separate fields."""
    from tts_pipeline.catalog.service import is_loopback

    host, port = connection.host or "", connection.port
    if "://" in host or not port:
        return host
    scheme = connection.schema or ("http" if is_loopback(f"http://{host}") else "https")
    return f"{scheme}://{host}:{port}"
