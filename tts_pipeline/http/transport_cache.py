"""Cache transports, so that a client finds the open connections of an earlier client of the same service."""

from __future__ import annotations

from tts_pipeline.catalog.route import Route
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.transport import Transport

_MAX_TRANSPORTS = 8


class TransportCache:
    """Transports by their settings, for one event loop; beyond eight, the oldest is forgotten."""

    def __init__(self) -> None:
        self._transports: dict[tuple[Timeouts, str | None, str, Route], Transport] = {}

    def transport(self, timeouts: Timeouts, authorization: str | None, key_header: str, route: Route) -> Transport:
        """Return the transport with these settings; see ``Transport``."""
        settings = timeouts, authorization, key_header, route
        cached = self._transports.pop(settings, None)
        if cached is None:
            cached = Transport(timeouts, authorization=authorization, key_header=key_header, route=route)
        self._transports[settings] = cached  # at the end: it was used last
        if len(self._transports) > _MAX_TRANSPORTS:  # a run may still use the oldest
            del self._transports[next(iter(self._transports))]
        return cached

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in self._transports.values():
            await transport.aclose()
        self._transports.clear()
