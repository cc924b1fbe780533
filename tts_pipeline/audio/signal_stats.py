"""Measure a signal without knowing its words: levels, clipping, its end, its steadiness."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tts_pipeline.audio.samples import Samples, SampleStream

FRAME_S = 0.02
"""Length of a level measurement: two pitch periods of a low voice, so that levels do not flutter with its pitch."""

TAIL_S = 0.005
_WINDOW_FRAMES = 50
_HOP_FRAMES = 25
_FULL_SCALE = 32_766 / 32_768
"""One step of 16 bits below the maximum, because a resampler or a lossy format may lower peaks."""

FLOOR = 1e-12
"""Power added to every level, so that digital silence is -120 dBFS and not minus infinity."""

Powers = npt.NDArray[np.float32]
"""Mean squares. They sort like levels in dB, and the logarithms of all of them would take long."""

_WINDOW = np.arange(_WINDOW_FRAMES)


class SignalStats(Struct, frozen=True, gc=False):
    """The measures of a sound. Levels are RMS in dB relative to full scale (a square wave at full scale is 0).

    ``powers`` and ``loudest_dbfs`` are of 20 ms each; ``loud_dbfs``, the level of the loud parts, is the 95th
    percentile of the levels. ``tail_db`` is the level of the last 5 ms relative to the loud parts. ``clipped_share`` is
    the share of samples within three or more in a row at full scale. ``steadiness_db`` has, for every second (in steps
    of half a second), the distance between the 90th and the 10th percentile of its 50 levels; ``window_dbfs`` has the
    level of its loud parts.
    """

    duration_s: float
    powers: Sequence[float]
    loudest_dbfs: float
    loud_dbfs: float
    tail_db: float
    clipped_share: float
    steadiness_db: Sequence[float]
    window_dbfs: Sequence[float]

    def sounding_s(self, *, above_db: float) -> float:
        """Return the time from the first to the last level of at least ``above_db``, relative to the loud parts."""
        powers, least = self.powers, 10 ** ((self.loud_dbfs + above_db) / 10)
        first, last = 0, len(powers) - 1
        while first <= last and powers[first] < least:
            first += 1
        while first <= last and powers[last] < least:
            last -= 1
        return (last - first + 1) * FRAME_S

    def longest_steady_s(self, *, within_db: float, above_dbfs: float) -> float:
        """Return the length of the longest stretch whose level stays within a range and above a minimum.

        Stretches consist of windows of a second: 0 for a shorter sound.
        """
        if min(self.steadiness_db, default=within_db) > within_db:  # nearly every sound's
            return 0.0
        longest = run = 0
        for steadiness_db, level_dbfs in zip(self.steadiness_db, self.window_dbfs, strict=True):
            run = run + 1 if steadiness_db <= within_db and level_dbfs >= above_dbfs else 0
            longest = max(longest, run)
        return (longest - 1) * _HOP_FRAMES * FRAME_S + _WINDOW_FRAMES * FRAME_S if longest else 0.0


def measure_signal(stream: SampleStream) -> SignalStats:
    """Measure a sound of at least one sample, in any format, block by block; ``signal_meter`` measures many."""
    accumulator = _Accumulator(stream.sample_rate_hz)
    for block in stream.blocks:
        accumulator.add(block)
    powers, tail = accumulator.powers(), accumulator.tail
    return make_stats(
        accumulator.frames / stream.sample_rate_hz,
        powers,
        tail_power=mean_power(tail),
        clipped_share=accumulator.clipped_count / (accumulator.frames * stream.channels),
        windows=window_levels(powers, window_starts(0, len(powers))),
    )


def make_stats(
    duration_s: float,
    powers: Powers,
    *,
    tail_power: float,
    clipped_share: float,
    windows: tuple[Sequence[float], Sequence[float]],
) -> SignalStats:
    """Return the measures of a sound by its powers, and by the steadiness and the levels of its windows."""
    values: list[float] = powers.tolist()
    powers = powers.copy()
    powers.sort()
    # An actual level: np.percentile would interpolate two, and takes as long as all the rest.
    loud_dbfs = 10 * log10(powers.item(95 * (len(values) - 1) // 100))
    loudest_dbfs, tail_dbfs = 10 * log10(powers.item(-1)), 10 * log10(tail_power)
    return SignalStats(duration_s, values, loudest_dbfs, loud_dbfs, tail_dbfs - loud_dbfs, clipped_share, *windows)


class _Accumulator:
    """Running measures of a sound, block by block."""

    def __init__(self, rate_hz: int) -> None:
        self.frames = 0
        self.clipped_count = 0
        self.tail = np.empty(0, np.float32)
        self._frame_length = max(1, int(rate_hz * FRAME_S))
        self._tail_frames = max(1, int(rate_hz * TAIL_S))
        self._powers: list[Powers] = []
        self._remainder = np.empty(0, np.float32)

    def add(self, block: Samples) -> None:
        # A single channel is a view; several are averaged, so that sound in any of them counts.
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        self.frames += len(mono)
        # Three in a row across two blocks are not counted: a block has 16 * 65,536 frames.
        self.clipped_count += _count_clipped(block)
        self.tail = _concatenate(self.tail, mono[-self._tail_frames :])[-self._tail_frames :]
        mono = _concatenate(self._remainder, mono)
        usable = len(mono) // self._frame_length * self._frame_length
        self._remainder = mono[usable:]
        if usable:
            self._powers.append(frame_powers(mono[:usable], self._frame_length))

    def powers(self) -> Powers:
        """Return the power of every 20 ms; of the whole sound if it is shorter."""
        if not self._powers:
            return frame_powers(self._remainder, len(self._remainder))
        return self._powers[0] if len(self._powers) == 1 else np.concatenate(self._powers)


def _concatenate(earlier: Samples, later: Samples) -> Samples:
    return np.concatenate((earlier, later)) if len(earlier) else later


def frame_powers(samples: Samples, length: int, full_scale: float = 1.0) -> Powers:
    """Return the power of every ``length`` samples; ``full_scale`` is the power of a square wave as loud as can be."""
    frames = samples.reshape(-1, length)
    powers: Powers = np.vecdot(frames, frames)
    powers /= length * full_scale
    powers += FLOOR
    return powers


def mean_power(samples: Samples, full_scale: float = 1.0) -> float:
    """Return the power of a sound as a whole; ``full_scale`` as for ``frame_powers``."""
    power: float = np.dot(samples, samples).item()
    return power / (len(samples) * full_scale) + FLOOR


def window_starts(first: int, end: int) -> range:
    """Return where the windows of a second begin in the powers from ``first`` to ``end``."""
    return range(first, end - _WINDOW_FRAMES + 1, _HOP_FRAMES)


def window_levels(powers: Powers, starts: Sequence[int]) -> tuple[Sequence[float], Sequence[float]]:
    """Return the steadiness of windows and the level of their loud parts, in dB and dBFS."""
    if not starts:
        return [], []
    ordered = powers[np.array(starts)[:, np.newaxis] + _WINDOW]
    ordered.sort(axis=1)
    soft, loud = (10 * np.log10(ordered[:, rank]) for rank in (_WINDOW_FRAMES // 10, -1 - _WINDOW_FRAMES // 10))
    return (loud - soft).tolist(), loud.tolist()


def _count_clipped(samples: Samples) -> int:
    # Hardly any file comes near full scale: two fast passes skip the rest.
    if not len(samples) or max(samples.max(), -samples.min()) < _FULL_SCALE:
        return 0
    return count_in_runs(np.abs(samples) >= _FULL_SCALE)


def count_in_runs(full: npt.NDArray[np.bool_]) -> int:
    """Return the number of samples within three or more in a row that are at full scale."""
    inner = full[2:] & full[1:-1] & full[:-2]
    within = np.zeros(full.shape, np.bool_)
    for shift in range(3):
        within[shift : shift + len(inner)] |= inner
    return int(within.sum())
