"""Options of the local service, and their way to a command line and back."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from tts_pipeline.errors import ConfigurationError

MAX_BODY_BYTES = 1024 * 1024
"""A request body larger than this is answered with 413; the longest permitted text is 600 characters."""


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """Everything that can be set about the local service.

    Args:
        host: The address it listens on; anything but loopback lets others in.
        port: 0 takes any free one.
        voice_mode: ``espeak`` speaks; ``tone`` makes cheap audio from a hash of the text, for load.
        tone_bytes: Bytes of samples in a tone, header not counted; None follows the length of the text.
        latency_ms: Least time from a request to its answer.
        requests_per_minute: Enforced smoothly: a request before its slot gets a 429; None is no limit.
        rate_tolerance_ms: How early a request may come.
        max_in_flight: Requests beyond this number at one time get a 429; None is no limit.
        required_key: A made-up bearer key that requests must carry; None takes any request.
        key_header: The header that carries it: after ``Bearer`` in ``Authorization``, bare in any other.
        required_query: The query that requests must have, as it stands in a URL; None takes any request.
        answer: Whether audio comes as base64 ``data`` or as a ``url`` that the service serves; a request may say
            otherwise with ``?answer=``.
        bill: Every charged request is also appended to this file as a JSON line; None keeps the bill in memory only.
        speakers: espeak-ng processes that speak at one time.
        while_stdin: End when standard input closes, so that it never outlives the process that started it.
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
    """Return the options that a parser with these arguments has read."""
    return EmulatorOptions(**{each.name: getattr(namespace, each.name) for each in fields(EmulatorOptions)})


def to_arguments(options: EmulatorOptions) -> list[str]:
    """Return the command line that ``options_from`` reads back as the same options."""
    words: list[str] = []
    for each in fields(options):
        value = getattr(options, each.name)
        flag = "--" + each.name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words.append(f"{flag}={value}")
    return words


def require_engine(options: EmulatorOptions) -> None:
    """Make sure that the voice asked for is installed."""
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
