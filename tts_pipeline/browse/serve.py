"""Serve the page: listen, announce the address, and stop on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.daemon_threads import in_daemon_threads

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SHUTDOWN_S = 1.0


class App(Protocol):
    """A page to serve."""

    def application(self) -> web.Application:
        """Return the application with its routes and middlewares."""
        ...


def serve(app: App, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve a page until SIGTERM or SIGINT; ``ready`` gets its URL once it can be opened. Blocking.

    Port 0 chooses a free port.

    Raises:
        ConfigurationError: The address is not available.
    """
    asyncio.run(in_daemon_threads(_serve(app, host, port, ready)))


async def _serve(app: App, host: str, port: int, ready: Callable[[str], None]) -> None:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        for number in _STOP_SIGNALS:  # a second signal ends the process, even if a read of the store hangs
            loop.remove_signal_handler(number)

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    runner = web.AppRunner(app.application(), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        ready(await _listen(runner, host, port))
        await stopped.wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"the page cannot be served on {host}:{port}: {getattr(error, 'strerror', None) or error}",
            hint="choose another port, or 0 for a free one",
        ) from error
    address, bound_port = runner.addresses[0][:2]
    return f"http://[{address}]:{bound_port}/" if ":" in address else f"http://{address}:{bound_port}/"
