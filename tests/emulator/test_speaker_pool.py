from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from tts_pipeline.emulator.audio import SynthesisError
from tts_pipeline.emulator.request import SpeechRequest
from tts_pipeline.emulator.speaker_pool import SpeakerPool

PARROT = """
import os, sys, time
from tts_pipeline.emulator.speaker_protocol import *
from tts_pipeline.emulator.audio import *
for request in read_frames(sys.stdin.buffer):
    text = request.text
    if text == "always" or text == "once" and not os.path.exists(sys.argv[1]):
        open(sys.argv[1], "w").close()
        os._exit(1)
    if text == "slow":
        time.sleep(0.2)
    answer = SynthesisError("cannot") if text == "cannot" else SynthesisResult(text.encode())
    sys.stdout.buffer.write(pack_frame(answer))
    sys.stdout.buffer.flush()
"""
"""A process that answers with the text itself, and dies when told to."""


def request_for(text: str) -> SpeechRequest:
    return SpeechRequest("m", text, "Cherry", "English")


def parrots(count: int, crash_flag: Path) -> SpeakerPool:
    return SpeakerPool(count, (sys.executable, "-c", PARROT, str(crash_flag)))


def test_every_request_gets_its_own_answer(tmp_path: Path) -> None:
    """However many ask at one time, nobody gets another's audio."""

    async def ask() -> list[bytes]:
        async with parrots(2, tmp_path / "died") as speakers:
            return [
                each.audio for each in await asyncio.gather(*(speakers.speak(request_for(str(n))) for n in range(200)))
            ]

    assert asyncio.run(ask()) == [str(n).encode() for n in range(200)]


def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    """A death costs a second try, not the request, and not the service."""

    async def ask() -> list[bytes]:
        async with parrots(1, tmp_path / "died") as speakers:
            return [(await speakers.speak(request_for(text))).audio for text in ("once", "more")]

    assert asyncio.run(ask()) == [b"once", b"more"]


def test_a_text_that_kills_twice_is_an_error_of_its_own(tmp_path: Path) -> None:
    """The text after it is spoken."""

    async def ask() -> bytes:
        async with parrots(1, tmp_path / "died") as speakers:
            with pytest.raises(SynthesisError, match="twice"):
                await speakers.speak(request_for("always"))
            return (await speakers.speak(request_for("next"))).audio

    assert asyncio.run(ask()) == b"next"


def test_a_voice_that_fails_is_not_started_again(tmp_path: Path) -> None:
    """What the process itself reports is handed on."""

    async def ask() -> None:
        async with parrots(1, tmp_path / "died") as speakers:
            with pytest.raises(SynthesisError, match="cannot"):
                await speakers.speak(request_for("cannot"))

    asyncio.run(ask())


def test_an_abandoned_request_leaves_no_answer_behind(tmp_path: Path) -> None:
    """The answer to a cancelled request is never given to the next one."""

    async def ask() -> bytes:
        async with parrots(1, tmp_path / "died") as speakers:
            await speakers.speak(request_for("warm"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(speakers.speak(request_for("slow")), 0.05)
            return (await speakers.speak(request_for("next"))).audio

    assert asyncio.run(ask()) == b"next"


def test_the_processes_end_with_the_pool(tmp_path: Path) -> None:
    """Leaving is quick, also while a process is busy."""

    async def leave() -> float:
        async with parrots(2, tmp_path / "died"):
            began_s = time.monotonic()
        return time.monotonic() - began_s

    assert asyncio.run(leave()) < 5
