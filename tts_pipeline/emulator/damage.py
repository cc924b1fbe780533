"""Damage audio: make it silent, noisy, cut or clipped, like the output of a failing voice. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tts_pipeline.emulator.audio import wav_header

_HEADER_BYTES = 44
_RATE_AT = slice(24, 28)
_LOUD = 3_000

_Samples = npt.NDArray[np.int32]


def damage_audio(audio: bytes, sound: str) -> bytes:
    """Return audio with one of the ``SOUNDS``, in a well-formed file; compressed audio stays unchanged."""
    if audio.startswith((b"ID3", b"\xff")):
        return audio
    has_header = audio.startswith(b"RIFF")
    samples = np.frombuffer(audio[_HEADER_BYTES if has_header else 0 :], "<i2").astype(np.int32)
    data = _DAMAGES[sound](samples).clip(-0x8000, 0x7FFF).astype("<i2").tobytes()
    return wav_header(len(data), int.from_bytes(audio[_RATE_AT], "little")) + data if has_header else data


def _noise(samples: _Samples) -> _Samples:
    return np.random.default_rng(1).integers(-_LOUD, _LOUD, len(samples), dtype=np.int32)


def _cut(samples: _Samples) -> _Samples:
    """Cut at a loud sample in the middle."""
    half = len(samples) // 2
    return samples[: half + int(np.argmax(abs(samples[half : half + half // 2]))) + 1]


_DAMAGES: Mapping[str, Callable[[_Samples], _Samples]] = {
    "empty": lambda samples: samples[:100],
    "silent": lambda samples: samples * 0,
    "noise": _noise,
    "cut": _cut,
    "short": lambda samples: samples[: len(samples) // 10],
    "long": lambda samples: np.tile(samples, 6),
    "clipped": lambda samples: samples * 50,
}
"""Each sound by its name in a rule."""
