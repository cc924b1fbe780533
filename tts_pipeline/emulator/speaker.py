"""Speak with espeak-ng as a process, until its input ends: ``python -m tts_pipeline.emulator.speaker``."""

from __future__ import annotations

import os
import signal
import sys

from tts_pipeline.emulator.alignment import align
from tts_pipeline.emulator.audio import SynthesisError, SynthesisResult, encode, resample
from tts_pipeline.emulator.espeak import Espeak
from tts_pipeline.emulator.request import SpeechRequest
from tts_pipeline.emulator.speaker_protocol import pack_frame, read_frames


def speak(espeak: Espeak, request: SpeechRequest) -> SynthesisResult:
    """Return the spoken text of a request."""
    samples, events = espeak.speak(request)
    words = None
    if request.timestamps:
        words = align(
            request.text,
            events,
            language=request.language,
            samples=len(samples),
            sample_rate_hz=espeak.sample_rate_hz,
        )
    resampled = resample(samples, espeak.sample_rate_hz, request.sample_rate_hz)
    return SynthesisResult(encode(resampled, request.sample_rate_hz, request.response_format), words)


def main() -> None:
    """Speak until standard input ends."""
    # An interrupt from the terminal goes to the whole process group, but the server decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The library must not print into the frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    espeak = Espeak()
    for request in read_frames(sys.stdin.buffer):
        try:
            answer: SynthesisResult | SynthesisError = speak(espeak, request)
        except SynthesisError as error:
            answer = error
        answers.write(pack_frame(answer))
        answers.flush()


if __name__ == "__main__":
    main()
