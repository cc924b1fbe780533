"""Manage a pool of processes, each of which speaks one text at a time and is restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from types import TracebackType
from typing import Self

from tts_pipeline.emulator.audio import SynthesisError, SynthesisResult
from tts_pipeline.emulator.request import SpeechRequest
from tts_pipeline.emulator.speaker_protocol import LENGTH, pack_frame, unpack_frame

_ANSWER_TIMEOUT_S = 60.0
"""600 characters take well under a second; a process that is silent for this long is hanging."""


class SpeakerPool:
    """A pool of ``count`` processes that speak."""

    def __init__(
        self, count: int, command: tuple[str, ...] = (sys.executable, "-m", "tts_pipeline.emulator.speaker")
    ) -> None:
        self._processes = [_SpeakerProcess(command) for _ in range(count)]
        self._idle: asyncio.LifoQueue[_SpeakerProcess] = asyncio.LifoQueue()

    async def __aenter__(self) -> Self:
        for speaker in self._processes:
            await speaker.start()
            self._idle.put_nowait(speaker)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for speaker in self._processes:
            await speaker.stop()

    async def speak(self, request: SpeechRequest) -> SynthesisResult:
        """Return the spoken text of a request; if the process dies over it, restart the process and try once more."""
        speaker = await self._idle.get()
        try:
            try:
                return await speaker.speak(request)
            except (EOFError, ConnectionError, TimeoutError):
                return await speaker.speak(request)
        except (EOFError, ConnectionError, TimeoutError) as error:
            raise SynthesisError("The voice process died twice over one text.") from error
        finally:
            self._idle.put_nowait(speaker)


class _SpeakerProcess:
    """One process, which is restarted after it has died."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._process: Process | None = None

    async def start(self) -> Process:
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
        return self._process

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()

    async def speak(self, request: SpeechRequest) -> SynthesisResult:
        process = self._process or await self.start()
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                answer = await _exchange(process, request)
        except BaseException:
            # A late answer would be taken for that of the next request.
            await self.stop()
            raise
        if isinstance(answer, SynthesisError):
            raise answer
        return answer


async def _exchange(process: Process, request: SpeechRequest) -> SynthesisResult | SynthesisError:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pack_frame(request))
    await process.stdin.drain()
    (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    answer: SynthesisResult | SynthesisError = unpack_frame(await process.stdout.readexactly(size))
    return answer
