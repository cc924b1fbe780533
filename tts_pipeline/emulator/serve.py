"""Run the service as a process that announces its URL on standard output and ends by a signal or with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator

from aiohttp import web

from tts_pipeline.emulator.audio import SynthesisResult
from tts_pipeline.emulator.options import EmulatorOptions, require_engine
from tts_pipeline.emulator.request import SpeechRequest
from tts_pipeline.emulator.server import Engine, SpeechServer
from tts_pipeline.emulator.speaker_pool import SpeakerPool
from tts_pipeline.emulator.tone import speak_tone, tone
from tts_pipeline.errors import ConfigurationError

_BACKLOG = 4_096
_SHUTDOWN_S = 1.0


def serve(options: EmulatorOptions) -> None:
    """Run the service until SIGTERM, SIGINT or, with ``while_stdin``, the end of standard input.

    When it is ready, it prints a line of JSON, ``{"url": "http://127.0.0.1:PORT"}``.

    Raises:
        ConfigurationError: The port is taken, or espeak-ng is not installed.
    """
    require_engine(options)
    asyncio.run(_serve(options))


async def _serve(options: EmulatorOptions) -> None:
    stop_event = asyncio.Event()
    async with _open_engine(options) as engine:
        server = SpeechServer(options, engine)
        runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            url = await _listen(runner, options)
            _stop_on_signals(stop_event)
            if options.while_stdin:
                _stop_with_stdin(stop_event)
            print(json.dumps({"url": url}), flush=True)
            await stop_event.wait()
        finally:
            await runner.cleanup()
            server.close()


@contextlib.asynccontextmanager
async def _open_engine(options: EmulatorOptions) -> AsyncIterator[Engine]:
    if options.voice_mode == "espeak":
        async with SpeakerPool(options.speakers) as pool:
            yield pool.speak
    else:

        async def speak(request: SpeechRequest) -> SynthesisResult:
            if request.response_format == "mp3":
                return await asyncio.to_thread(speak_tone, request, options.tone_bytes)
            return speak_tone(request, options.tone_bytes)

        # Prepare the sound, so that the first answer is as quick as all others.
        tone("", tone_bytes=options.tone_bytes)
        yield speak


async def _listen(runner: web.AppRunner, options: EmulatorOptions) -> str:
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=_BACKLOG).start()
    except OSError as error:
        raise ConfigurationError(
            f"The local speech service cannot listen on {options.host}:{options.port}: {error.strerror}.",
            hint="choose another port, or 0 for any free port",
        ) from error
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _stop_on_signals(stop_event: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_event.set)


def _stop_with_stdin(stop_event: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # ``os.read``, because a thread that holds the lock of sys.stdin would break the interpreter's shutdown.
        while os.read(sys.stdin.fileno(), 4_096):
            pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop_event.set)

    threading.Thread(target=wait, name="while-stdin", daemon=True).start()
