"""The service as a process: started, announced on standard output, ended by a signal or with its parent."""

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

from tts_pipeline.emulator.asked import Asked
from tts_pipeline.emulator.options import EmulatorOptions, require_voice
from tts_pipeline.emulator.server import SpeechServer, Voice
from tts_pipeline.emulator.sound import Spoken
from tts_pipeline.emulator.tone import speak_tone, tone
from tts_pipeline.emulator.workers import Speakers
from tts_pipeline.errors import ConfigurationError

_BACKLOG = 4_096
_SHUTDOWN_S = 1.0


def serve(options: EmulatorOptions) -> None:
    """Run the service until SIGTERM, SIGINT or, with ``while_stdin``, the end of standard input.

    One line of JSON, ``{"url": "http://127.0.0.1:PORT"}``, on standard output says that it is ready.

    Raises:
        ConfigurationError: The port is taken, or espeak-ng is not installed.
    """
    require_voice(options)
    asyncio.run(_serve(options))


async def _serve(options: EmulatorOptions) -> None:
    ended = asyncio.Event()
    async with _voice(options) as voice:
        server = SpeechServer(options, voice)
        runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            url = await _listen(runner, options)
            _end_on_signals(ended)
            if options.while_stdin:
                _end_with_stdin(ended)
            print(json.dumps({"url": url}), flush=True)
            await ended.wait()
        finally:
            await runner.cleanup()
            server.close()


@contextlib.asynccontextmanager
async def _voice(options: EmulatorOptions) -> AsyncIterator[Voice]:
    if options.voice_mode == "espeak":
        async with Speakers(options.speakers) as speakers:
            yield speakers.speak
    else:

        async def hum(asked: Asked) -> Spoken:
            if asked.response_format == "mp3":
                return await asyncio.to_thread(speak_tone, asked, options.tone_bytes)
            return speak_tone(asked, options.tone_bytes)

        # Prepares the sound, so that the first answer is as quick as all others.
        tone("", tone_bytes=options.tone_bytes)
        yield hum


async def _listen(runner: web.AppRunner, options: EmulatorOptions) -> str:
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=_BACKLOG).start()
    except OSError as error:
        raise ConfigurationError(
            f"The local speech service cannot listen on {options.host}:{options.port}: {error.strerror}.",
            hint="choose another --port, or 0 for any free one",
        ) from error
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _end_on_signals(ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)


def _end_with_stdin(ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # Not sys.stdin: its lock, held by a thread, would break the interpreter's own end.
        while os.read(sys.stdin.fileno(), 4_096):
            pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, name="while-stdin", daemon=True).start()
