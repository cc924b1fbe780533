"""The time and size limits of a transport."""

from __future__ import annotations

from dataclasses import dataclass

from tts_pipeline.config import CONNECTION_PROBATION_S, EXCHANGE_TIMEOUT_FACTOR, MAX_AUDIO_BYTES


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time and size limits of a transport.

    Args:
        timeout_s: The longest silence within an answer; the longest exchange is ten times as long.
        connect_timeout_s: The longest wait for a connection: name, TCP and TLS together.
        max_body_bytes: A longer answer is refused.
        probation_s: A connection is used again only after the server was silent this long between answers.
    """

    timeout_s: float
    connect_timeout_s: float
    max_body_bytes: int = MAX_AUDIO_BYTES
    probation_s: float = CONNECTION_PROBATION_S

    @property
    def exchange_s(self) -> float:
        """The longest exchange: connection, request, head, body and trailer together."""
        return EXCHANGE_TIMEOUT_FACTOR * self.timeout_s
