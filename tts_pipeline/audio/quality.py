"""Raise quality flags for suspicious audio, by measures that need no second model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from tts_pipeline.audio.speaking_rate import speaking_range_s
from tts_pipeline.errors import PermanentError, TransientError, UnreadableError
from tts_pipeline.models import Audio

if TYPE_CHECKING:
    from tts_pipeline.audio.signal_stats import SignalStats

UNDECODABLE = "undecodable"
EMPTY = "empty"
SILENT = "silent"
RUNAWAY_NOISE = "runaway_noise"
CUT_TAIL = "cut_tail"
TOO_SHORT = "too_short"
TOO_LONG = "too_long"
CLIPPED = "clipped"

FLAGS = (UNDECODABLE, EMPTY, SILENT, RUNAWAY_NOISE, CUT_TAIL, TOO_SHORT, TOO_LONG, CLIPPED)
"""All flags, the worst first: nothing to hear, no speech, a part of the text missing, all of the text but damaged."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of the measures beyond which a flag is raised. ``undecodable`` has none: a file decodes or does not.

    "Local voices" are 27 voices of espeak-ng reading 592 articles in ten languages at their usual speed, twice each,
    1,180 recordings; measured 2026-11.

    Args:
        empty_below_s: ``empty``: the sound is shorter than this. One pitch period of a low voice takes as long.
        silent_below_dbfs: ``silent``: the loudest 20 ms are softer. The recommended level of speech is -22 dBFS (RFC
            7874, section 4: 2,600 of 32,767), and services allow a volume of 0.1, which is 20 dB less; 18 dB are to
            spare.
        clipped_share: ``clipped``: more than this share of the samples is within three or more in a row at full scale.
            Three in a row are an "over" on studio meters since the Sony PCM-1630; a tenth of a per cent is a
            millisecond in every second. Local voices: 0; amplified 20 times: 0.2.
        cut_tail_db: ``cut_tail``: the last 5 ms are louder than this, relative to the loud parts of the speech. Speech
            decays before it ends. Local voices: -25 at most; cut at random, about 8 of 10 are louder than this, and
            most of the others were cut in a pause or a plosive.
        noise_within_db: ``runaway_noise``: the level moves less than this for ``noise_min_s``. Speech moves with its
            syllables, one to seven times a second (Elliott and Theunissen, The modulation transfer function for speech
            intelligibility, PLoS Computational Biology 5, 2009). In every second of the local voices the 90th and the
            10th percentile are 8 dB apart or more; those of white noise 1, of pink noise 4 at most, of a hum less. So
            the measure finds noise of most colours without a spectrum.
        noise_below_loud_db: A stretch softer than the loud parts (the 95th percentile) by more than this is a pause
            with a hiss.
        noise_min_s: A held vowel is shorter. A shorter sound, from ``noise_whole_min_s`` on, is noise if all of it is.
        noise_whole_min_s: See ``noise_min_s``; the measure needs a second.
        sounding_above_db: The speech lasts from the first to the last 20 ms that are louder than this, relative to the
            loud parts. ``too_short``: the speech is shorter than the fastest reading of the text (see
            ``speaking_rate``).
        margin_s: ``too_long``: the speech is longer than the slowest reading of the text by more than this; a single
            word is spoken slower than in a sentence.
        silence_around_s: ``too_long``, too: with the silence around the speech, the audio is longer by more than this.
    """

    empty_below_s: float = 0.01
    silent_below_dbfs: float = -60.0
    clipped_share: float = 0.001
    cut_tail_db: float = -20.0
    noise_within_db: float = 6.0
    noise_below_loud_db: float = 30.0
    noise_min_s: float = 2.0
    noise_whole_min_s: float = 1.0
    sounding_above_db: float = -40.0
    margin_s: float = 0.5
    silence_around_s: float = 2.0


THRESHOLDS = Thresholds()
"""The thresholds of ``assess``."""


def assess(audio: Audio, text: str, language: str | None, *, speed: float = 1.0) -> tuple[str, ...]:
    """Return the flags of a text's audio, sorted; mostly none. Never raises.

    It takes about a millisecond for ten seconds of WAV, and the decoding time for other formats. Audio in a format that
    we cannot decode, such as AAC, is judged by its length alone.

    A language (BCP-47) of None is guessed from the script; ``speed`` is relative to the usual speed.
    """
    if not audio.data:
        return (EMPTY,)
    try:
        signal = _measure_signal(audio)
    except (TransientError, UnreadableError):
        return (UNDECODABLE,)
    except PermanentError:
        duration_s = audio.duration_ms / 1000
        return tuple(_length_flags(duration_s, duration_s, speaking_range_s(text, language), speed))
    return (EMPTY,) if signal is None else flags_of(signal, text, language, speed)


def flags_of(signal: SignalStats, text: str, language: str | None, speed: float) -> tuple[str, ...]:
    """Return the flags of a text's sound that is measured already; the arguments are those of ``assess``."""
    if signal.duration_s < THRESHOLDS.empty_below_s:
        return (EMPTY,)
    sounding_s = signal.sounding_s(above_db=THRESHOLDS.sounding_above_db)
    length_flags = _length_flags(sounding_s, signal.duration_s, speaking_range_s(text, language), speed)
    flags = [*_signal_flags(signal), *length_flags]
    return tuple(sorted(flags)) if flags else ()


def _measure_signal(audio: Audio) -> SignalStats | None:
    """Measure audio block by block; None if it has only a header."""
    # Imported here, because soundfile and numpy load slowly and users of the names above do not need them.
    from tts_pipeline.audio.samples import SampleStream, open_stream
    from tts_pipeline.audio.signal_stats import measure_signal

    with open_stream(audio) as stream:
        first = next(stream.blocks, None)
        if first is None:
            return None
        return measure_signal(SampleStream(chain((first,), stream.blocks), stream.sample_rate_hz, stream.channels))


def badness(flags: Collection[str]) -> int:
    """Return a score of how bad audio with these flags is, so that ``min(takes, key=...)`` is the best take.

    The worst flag decides, in the order of ``FLAGS``; between equal ones the next worst does. Other flags
    (``unverified_length``, ...) weigh less than any of these, and only by their number. 0 means no flag.
    """
    other_count = sum(flag not in FLAGS for flag in flags)
    weight = sum(1 << len(FLAGS) - rank for rank, flag in enumerate(FLAGS) if flag in flags)
    return (weight << 7) + min(other_count, 255)


def _signal_flags(signal: SignalStats) -> Iterable[str]:
    if signal.loudest_dbfs < THRESHOLDS.silent_below_dbfs:
        return (SILENT,)
    flags = []
    if signal.tail_db > THRESHOLDS.cut_tail_db:
        flags.append(CUT_TAIL)
    if signal.clipped_share > THRESHOLDS.clipped_share:
        flags.append(CLIPPED)
    if _is_noise(signal):
        flags.append(RUNAWAY_NOISE)
    return flags


def _is_noise(signal: SignalStats) -> bool:
    if not signal.steadiness_db:  # shorter than a second
        return False
    above_dbfs = max(THRESHOLDS.silent_below_dbfs, signal.loud_dbfs - THRESHOLDS.noise_below_loud_db)
    steady_s = signal.longest_steady_s(within_db=THRESHOLDS.noise_within_db, above_dbfs=above_dbfs)
    # Windows are half a second apart, so up to half a second at the end is in no window.
    whole_s = max(THRESHOLDS.noise_whole_min_s, signal.duration_s - 0.5)
    return steady_s >= min(THRESHOLDS.noise_min_s, whole_s)


def _length_flags(
    sounding_s: float, duration_s: float, speaking_range_s: tuple[float, float], speed: float
) -> Iterable[str]:
    least_s, most_s = speaking_range_s
    if sounding_s < least_s / speed:
        return (TOO_SHORT,)
    longest_s = most_s / speed + THRESHOLDS.margin_s
    is_too_long = sounding_s > longest_s or duration_s > longest_s + THRESHOLDS.silence_around_s
    return (TOO_LONG,) if is_too_long else ()
