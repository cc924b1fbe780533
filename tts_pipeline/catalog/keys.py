"""Find a service's API key in the environment, which only this module, ``cli`` and ``airflow`` read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog.service import Service, is_loopback, refuse_plain_http
from tts_pipeline.catalog.service_headers import authorization_of, refuse_misplaced_key
from tts_pipeline.errors import ConfigurationError

AnyService = TypeVar("AnyService", bound=Endpoint)

URL_KEY_VARIABLE = "TTS_API_KEY"
"""The variable with the key of a service by URL."""


def environment() -> Mapping[str, str]:
    """Return the process's environment."""
    return os.environ


def with_key(service: AnyService, environ: Mapping[str, str]) -> AnyService:
    """Return a service with its key, from the variable that the catalog names; ``TTS_API_KEY`` for a service by URL.

    A service that has a key keeps it, and a service without authentication gets none. A service by URL on loopback
    needs no key: without one, its ``auth`` becomes ``none``.

    Raises:
        ConfigurationError: The key is missing or malformed, or would travel over plain http off loopback.
    """
    if service.auth == "none":
        return service
    variable = (service.key_variable if isinstance(service, Service) else None) or URL_KEY_VARIABLE
    key = service.api_key or environ.get(variable, "").strip()
    if not key and variable == URL_KEY_VARIABLE and is_loopback(service.base_url):
        return replace(service, auth="none")
    if not key:
        raise ConfigurationError(f"service {service.name!r} needs a key", hint=f"set {variable} in the environment")
    keyed = replace(service, api_key=key)
    authorization_of(keyed)
    refuse_misplaced_key(keyed)
    refuse_plain_http(keyed)
    return keyed
