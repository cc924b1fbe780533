"""Check whether reported usage is plausible, and bound the bill if it is not. Pure."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from tts_pipeline.config import PLAUSIBLE_RATIO
from tts_pipeline.models import Usage

MAX_COUNT = 10**11
"""The most that one attempt is billed for, whatever a service reports: ten million attempts together fit an int64."""

_MAX_BYTES_PER_TOKEN = 16
"""The most bytes of text in a token: byte-level BPE takes 3 to 5 in most languages, and at least 1. Only the model's
vocabulary gives the exact number; text costs a few hundredths of its audio."""

_MAX_PROMPT_TOKENS = 64
"""The most tokens that a model may add to a text: its own frame around the text."""


class Figure(Struct, frozen=True, gc=False):
    """One figure of the bill, confirmed and at most: both are the service's report if it is plausible.

    Otherwise our count is confirmed, and the larger of report and count is the most.
    """

    confirmed: int
    at_most: int
    is_plausible: bool = True


class TokenFigures(NamedTuple):
    """The two figures of a price by token."""

    text: Figure
    audio: Figure

    @property
    def confirmed(self) -> Usage:
        """The confirmed tokens."""
        return Usage(input_tokens=self.text.confirmed, output_tokens=self.audio.confirmed)

    @property
    def at_most(self) -> Usage:
        """The most tokens possible."""
        return Usage(input_tokens=self.text.at_most, output_tokens=self.audio.at_most)

    @property
    def is_plausible(self) -> bool:
        """Whether both reports are plausible."""
        return self.text.is_plausible and self.audio.is_plausible


def check_count(reported: int | None, counted: int) -> Figure:
    """Compare a reported figure with our own count; without a report the count is the bill.

    Exactly ``PLAUSIBLE_RATIO`` times the count, and exactly that fraction of it, are still plausible. Short texts have
    no extra tolerance: a charge of 10 characters for a text of 1 is implausible, confirmed at 1 and possible at 10, so
    the bill holds whichever figure is true.
    """
    if reported is None:
        return Figure(counted, counted)
    if counted <= reported * PLAUSIBLE_RATIO and reported <= counted * PLAUSIBLE_RATIO:
        return Figure(reported, reported)
    return _implausible(counted, reported)


def check_tokens(
    usage: Usage, text_bytes: int, audio_tokens: int | None, estimated_audio_tokens: int
) -> TokenFigures | None:
    """Compare the tokens that a service reports with the text that was sent and the audio that came.

    A missing half, and halves that do not add up to the total, are implausible. The fewest possible tokens of the text
    are then confirmed, and its bytes or the larger report are the most.

    A token has at least one byte of UTF-8; ``text_bytes`` is the length of the text, or of its NFC if that is longer.
    ``audio_tokens`` is the number for this duration of audio; None if the card names no figure: then any report but 0
    is believed, and ``estimated_audio_tokens`` replaces 0. Returns None if no tokens are reported at all: unknown
    consumption is not 0.
    """
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    reported_text, reported_audio = usage.input_tokens or 0, usage.output_tokens or 0
    min_tokens = -(-text_bytes // _MAX_BYTES_PER_TOKEN)
    implausible_text = Figure(min_tokens, min(max(reported_text, text_bytes), MAX_COUNT), is_plausible=False)
    excess = 0 if usage.total_tokens is None else usage.total_tokens - reported_text - reported_audio
    if excess and None not in (usage.input_tokens, usage.output_tokens):
        counted = estimated_audio_tokens if audio_tokens is None else audio_tokens
        return TokenFigures(implausible_text, _implausible(counted, reported_audio + max(excess, 0)))
    is_text_plausible = min_tokens <= reported_text <= text_bytes + _MAX_PROMPT_TOKENS
    text = Figure(reported_text, reported_text) if is_text_plausible else implausible_text
    if audio_tokens is None:
        audio = Figure(reported_audio, reported_audio) if reported_audio else _implausible(estimated_audio_tokens, 0)
    else:
        audio = check_count(reported_audio, audio_tokens)
    return TokenFigures(text, audio)


def _implausible(counted: int, reported: int) -> Figure:
    return Figure(counted, min(max(counted, reported), MAX_COUNT), is_plausible=False)
