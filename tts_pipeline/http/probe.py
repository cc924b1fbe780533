"""Probe a service: whether it is reachable and takes the key, without buying anything."""

from __future__ import annotations

import asyncio

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog.keys import environment
from tts_pipeline.catalog.route import route_of
from tts_pipeline.catalog.service_headers import authorization_of
from tts_pipeline.http.transport import Timeouts, Transport
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.wire.request import query_of

MODELS_PATH = "/v1/models"
"""Read-only and free at OpenAI-like services, 2026-11; one without such a list answers 404, which is an answer."""

_MAX_BODY_BYTES = 8 * 1024 * 1024


def probe(service: Endpoint, *, timeout_s: float = 10.0) -> int:
    """Ask a service for its list of models; return the HTTP status: 401 or 403 where the key is refused.

    It costs nothing. ``timeout_s`` is the longest wait for a connection, and the longest silence. Blocking, also where
    an event loop runs.

    Raises:
        TransientError: No connection, or no whole answer.
        FatalError: It cannot be reached as it is given: its name, its certificate, the proxy.
        PermanentError: The address cannot be one, or the answer is no list of models by its size.
    """
    with DaemonExecutor(1, "probe") as thread:
        return thread.submit(asyncio.run, _status(service, timeout_s)).result()


async def _status(service: Endpoint, timeout_s: float) -> int:
    timeouts = Timeouts(timeout_s=timeout_s, connect_timeout_s=timeout_s, max_body_bytes=_MAX_BODY_BYTES)
    authorization, route = authorization_of(service), route_of(service, environment())
    transport = Transport(timeouts, authorization=authorization, key_header=service.key_header, route=route)
    url = f"{service.base_url}{MODELS_PATH}{query_of(service)}"
    try:
        return (await transport.exchange("GET", url, service.headers)).status
    finally:
        await transport.aclose()
