"""Keep the service's own bill, by its own counter, as a check of the pipeline's bill."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


def charged_characters(text: str) -> int:
    """Return the charged characters of a text: a Han character counts 2, any other 1, spaces and signs included.

    This is Alibaba Cloud Model Studio's rule for Qwen-TTS; we assume that its "Chinese character" means these Unicode
    ranges.
    """
    return len(text) + len(_HAN.findall(text))


_TOKENS_PER_SECOND = 50
"""Tokens per second of audio, and the least for a request (Alibaba Cloud Model Studio, Qwen-TTS, read 2026-11-20)."""

_BYTES_PER_TOKEN = 3
"""Bytes of text per token, about as in Qwen's vocabulary; our assumption."""


@dataclass(frozen=True, slots=True)
class Charge:
    """The charge of a request, in the words of a ``usage`` object."""

    characters: int
    input_tokens: int = 0
    output_tokens: int = 0

    def times(self, ratio: float) -> Charge:
        """Return the charge multiplied by a ratio, rounded."""
        return self if ratio == 1 else Charge(*(round(ratio * count) for count in astuple(self)))

    def usage(self) -> dict[str, Any]:
        """Return the usage object in Alibaba Cloud's form."""
        return {**asdict(self), "total_tokens": self.input_tokens + self.output_tokens}


def tokens_of(text: str, audio_s: float) -> tuple[int, int]:
    """Return the tokens that a model billed by token charges for a text and for its audio."""
    audio = math.ceil(_TOKENS_PER_SECOND * audio_s)
    return math.ceil(len(text.encode()) / _BYTES_PER_TOKEN), max(_TOKENS_PER_SECOND, audio)


@dataclass(slots=True)
class BillEntry:
    """One request, from its arrival on.

    ``seq`` counts from 1. The text is empty if the request could not be parsed. ``voice`` is the requested voice, or
    the default that spoke. Characters and tokens are the charge, or would be if the request were charged; input tokens
    are 0 for a model that is billed by character. ``charged``: the request is on the bill. ``status`` is None while the
    request is in flight; ``sha256`` is None if no audio was served.
    """

    seq: int
    request_id: str
    received_at: float
    text: str = ""
    model: str = ""
    voice: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    characters: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    charged: bool = False
    status: int | None = None
    sha256: str | None = None

    def read_fields(self, fields: Mapping[str, Any]) -> None:
        """Copy the fields that can be read from the body of the request."""
        known_fields = {name: fields.get(name) for name in ("input", "model", "voice")}
        self.text, self.model, self.voice = (value if isinstance(value, str) else "" for value in known_fields.values())
        self.parameters = {name: value for name, value in fields.items() if name not in known_fields}

    @property
    def is_refused(self) -> bool:
        """Whether the service refused the request (any 4xx)."""
        return self.status is not None and 400 <= self.status < 500


_COUNTS = ("characters", "input_tokens", "output_tokens")


class Bill:
    """All received requests, and which of them were charged.

    A charged request is also appended to the file, as a JSON line, before its answer is sent.
    """

    def __init__(self, file: Path | None = None) -> None:
        # Unbuffered, so that the lines survive a kill of this process.
        self._file: BinaryIO | None = file.open("ab", buffering=0) if file else None
        self.in_flight = 0
        """Requests being answered at this moment."""
        self.reset()

    def reset(self) -> None:
        """Drop all entries, also those of requests in flight."""
        self._entries: list[BillEntry] = []
        self._max_in_flight = self.in_flight

    def forget(self, entry: BillEntry) -> None:
        """Remove a request that was only redirected."""
        if entry in self._entries:
            self._entries.remove(entry)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    @contextmanager
    def receive(self) -> Iterator[BillEntry]:
        """Open the entry of a request, and count it as in flight inside the ``with`` block."""
        seq = len(self._entries) + 1
        received_at = time.time()
        entry = BillEntry(seq, f"local-{time.time_ns():x}-{seq}", received_at)
        self._entries.append(entry)
        self.in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self.in_flight)
        try:
            yield entry
        finally:
            self.in_flight -= 1

    def charge(self, entry: BillEntry) -> None:
        """Put a request on the bill; call it before writing the first byte of the answer."""
        entry.charged = True
        if self._file:
            self._file.write(orjson.dumps(asdict(entry)) + b"\n")

    def summary(self, *, entries: bool = False) -> dict[str, Any]:
        """Return the bill as it is served.

        Returns:
            ``received`` (all requests), ``requests`` (those not refused with a 4xx), ``charged`` (those on the bill),
            ``characters``, ``input_tokens`` and ``output_tokens`` (of the charged), ``in_flight`` and
            ``max_in_flight``; with ``entries`` also these, in order of arrival.
        """
        charged = [entry for entry in self._entries if entry.charged]
        totals: dict[str, Any] = {
            "received": len(self._entries),
            "requests": sum(not entry.is_refused for entry in self._entries),
            "charged": len(charged),
            **{name: sum(getattr(entry, name) for entry in charged) for name in _COUNTS},
            "in_flight": self.in_flight,
            "max_in_flight": self._max_in_flight,
        }
        if entries:
            totals["entries"] = [asdict(entry) for entry in self._entries]
        return totals
