"""Define the options of the local service, and convert them to a command line and back."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from tts_pipeline.errors import ConfigurationError

MAX_BODY_BYTES = 1024 * 1024
"""A larger request body gets a 413; the longest permitted text is 600 characters."""


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """All options of the local service.

    Args:
        host: The address to listen on; any address but loopback admits other machines.
        port: The port to listen on; 0 takes any free port.
        voice_mode: ``espeak`` speaks; ``tone`` makes cheap audio from a hash of the text, for load tests.
        tone_bytes: Bytes of samples in a tone, without the header; None follows the length of the text.
        latency_ms: The least time from a request to its answer.
        requests_per_minute: A smooth rate: a request before its slot gets a 429; None is no limit.
        rate_tolerance_ms: How early before its slot a request may come.
        max_in_flight: Requests beyond this number at one time get a 429; None is no limit.
        required_key: A made-up bearer key that requests must carry; None accepts any request.
        key_header: The header with that key: after ``Bearer`` in ``Authorization``, alone in any other header.
        required_query: The query that requests must have, as in a URL; None accepts any request.
        answer: Whether answers hold audio as base64 ``data`` or as a ``url`` that the service serves; ``?answer=`` in a
            request overrides it.
        bill: A file that gets a JSON line for every charged request; None keeps the bill only in memory.
        speakers: espeak-ng processes that speak at one time.
        while_stdin: Whether to end when standard input closes, and so never to outlive the parent process.
    """

    host: str = "127.0.0.1"
    port: int = 0
    voice_mode: Literal["espeak", "tone"] = "espeak"
    tone_bytes: int | None = None
    latency_ms: float = 0.0
    requests_per_minute: float | None = None
    rate_tolerance_ms: float = 50.0
    max_in_flight: int | None = None
    required_key: str | None = field(default=None, repr=False)
    key_header: str = "Authorization"
    required_query: str | None = None
    answer: Literal["data", "url"] = "data"
    bill: Path | None = None
    speakers: int = 2
    while_stdin: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag for every field of ``EmulatorOptions`` to the parser."""
    flag = parser.add_argument
    default = EmulatorOptions()
    flag("--host", default=default.host, help="address to listen on (default: %(default)s, this machine only)")
    flag("--port", type=_at_least(0), default=default.port, help="port to listen on (default: any free one)")
    flag("--voice-mode", choices=["espeak", "tone"], default=default.voice_mode, help="speak, or make tones for load")
    flag("--tone-bytes", type=_at_least(1), help="bytes of samples in a tone (default: by the text's length)")
    flag("--latency-ms", type=_amount, default=default.latency_ms, help="least time to an answer")
    flag("--requests-per-minute", type=_amount_above_zero, help="smooth rate limit (default: none)")
    flag("--rate-tolerance-ms", type=_amount, default=default.rate_tolerance_ms, help="how early a request may come")
    flag("--max-in-flight", type=_at_least(1), help="requests at one time (default: no limit)")
    flag("--required-key", help="a made-up bearer key that requests must carry (default: none)")
    flag("--key-header", default=default.key_header, help="the header of that key (default: %(default)s)")
    flag("--required-query", help="a query that requests must have, as api-version=1 (default: none)")
    flag("--answer", choices=["data", "url"], default=default.answer, help="audio inside the JSON, or as a URL")
    flag("--bill", type=Path, help="append every charged request to this file as a JSON line")
    flag("--speakers", type=_at_least(1), default=default.speakers, help="espeak-ng processes (default: %(default)s)")
    flag("--while-stdin", action="store_true", help="end when standard input closes")


def options_from(namespace: argparse.Namespace) -> EmulatorOptions:
    """Return the options that a parser with these arguments has parsed."""
    return EmulatorOptions(**{option.name: getattr(namespace, option.name) for option in fields(EmulatorOptions)})


def to_arguments(options: EmulatorOptions) -> list[str]:
    """Return the command line of options; ``options_from`` reads the same options back."""
    words: list[str] = []
    for option in fields(options):
        value = getattr(options, option.name)
        flag = "--" + option.name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words.append(f"{flag}={value}")
    return words


def require_engine(options: EmulatorOptions) -> None:
    """Check that espeak-ng is installed, if the options need it."""
    if options.voice_mode == "espeak" and importlib.util.find_spec("espeakng_loader") is None:
        raise ConfigurationError(
            "The local speech service needs espeak-ng, which is not installed.",
            hint="pip install 'tts-pipeline[local]'",
        )


def _at_least(minimum: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be {minimum} or more")
        return int(text)

    return number


def _amount(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def _amount_above_zero(text: str) -> float:
    if _amount(text) == 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return float(text)
