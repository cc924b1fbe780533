"""Probe whether a service is reachable and accepts the key, without a purchase."""

from __future__ import annotations

import asyncio

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog.keys import environment
from tts_pipeline.catalog.route import route_of
from tts_pipeline.catalog.service_headers import authorization_of
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.transport import Transport
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.wire.request import query_of

MODELS_PATH = "/v1/models"
"""Read-only and free at OpenAI-like services, 2026-11. A service without such a list answers 404: it is reachable."""

_MAX_BODY_BYTES = 8 * 1024 * 1024


def probe(service: Endpoint, *, timeout_s: float = 10.0) -> int:
    """Request a service's list of models; return the HTTP status: 401 or 403 if the key is refused.

    The request is free. ``timeout_s`` is the longest wait for a connection, and the longest silence. Blocking, even
    within a running event loop.

    Raises:
        TransientError: No connection, or no whole answer.
        FatalError: The service cannot be reached as it is configured: its name, its certificate or the proxy is wrong.
        PermanentError: The URL is not valid, or the answer is too large for a list of models.
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
