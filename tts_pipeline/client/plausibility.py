"""Check whether reported usage can be true, and bound the bill when it cannot. Pure."""

from __future__ import annotations

from typing import NamedTuple

from tts_pipeline.config import PLAUSIBLE_RATIO
from tts_pipeline.models import Usage

MAX_COUNT = 10**11
"""No attempt is billed for more, whatever a service reports: what ten million of them add up to still fits an int64."""

_MAX_BYTES_PER_TOKEN = 16
"""Of text, at most: byte-level BPE takes 3 to 5 in most languages, and one at least. How many exactly, only the model's
own vocabulary tells; text is a few hundredths of what its audio costs."""

_MAX_PROMPT_TOKENS = 64
"""What a model may add to the tokens of a text: its own frame around it."""


class Figure(NamedTuple):
    """One figure of the bill, confirmed and at most: the report, where it can be true.

    Else the count is confirmed, and the larger of both is possible.
    """

    confirmed: int
    at_most: int
    is_plausible: bool = True


class TokenFigures(NamedTuple):
    """The two figures that a price by token goes by."""

    text: Figure
    audio: Figure

    @property
    def confirmed(self) -> Usage:
        """What is confirmed."""
        return Usage(input_tokens=self.text.confirmed, output_tokens=self.audio.confirmed)

    @property
    def at_most(self) -> Usage:
        """What is possible."""
        return Usage(input_tokens=self.text.at_most, output_tokens=self.audio.at_most)

    @property
    def is_plausible(self) -> bool:
        """Whether both reports can be true."""
        return self.text.is_plausible and self.audio.is_plausible


def check_count(reported: int | None, counted: int) -> Figure:
    """Hold a reported figure against our own count; without a report the count is the bill.

    Exactly ``PLAUSIBLE_RATIO`` times the count, and exactly that part of it, can be true. Short texts have no
    tolerance of their own: a charge of 10 characters for a text of 1 is flagged, confirmed at 1 and possible at 10,
    and so the bill holds whichever is true.
    """
    if reported is None:
        return Figure(counted, counted)
    if counted <= reported * PLAUSIBLE_RATIO and reported <= counted * PLAUSIBLE_RATIO:
        return Figure(reported, reported)
    return _implausible(counted, reported)


def check_tokens(
    usage: Usage, text_bytes: int, audio_tokens: int | None, estimated_audio_tokens: int
) -> TokenFigures | None:
    """Hold the tokens that a service reports against the text that was sent and the audio that came.

    A half that is missing, and halves that do not make the total, cannot be true. Text then counts as the fewest tokens
    it can be, and possibly as the most.

    A token is one byte of UTF-8 at least; ``text_bytes`` is of the text or of its longer NFC. ``audio_tokens`` is what
    audio of this duration takes; where the card does not say, any report but 0 is believed, and 0 is replaced by the
    estimate. Returns None where no tokens are reported at all: unknown consumption is not 0.
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
