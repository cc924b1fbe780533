"""How many parts are open at one time: so many, and fewer where their texts are long."""

from __future__ import annotations

import asyncio

from tts_pipeline.config import OPEN_TEXT_BYTES


class OpenParts:
    """Counts open parts and their texts. For one event loop.

    Args:
        most: How many may be open.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._text_bytes = 0
        self._changed = asyncio.Event()

    async def enter(self) -> None:
        """Wait until a part may be opened: until one is closed, and the open ones' texts leave room."""
        while self._free <= 0 or self._text_bytes > OPEN_TEXT_BYTES:
            self._changed.clear()
            await self._changed.wait()
        self._free -= 1

    def hold(self, text_bytes: int) -> None:
        """Take note of what an opened part's texts have."""
        self._text_bytes += text_bytes

    def leave(self, text_bytes: int = 0) -> None:
        """Take note that a part is closed, whose texts have so many bytes."""
        self._free += 1
        self._text_bytes -= text_bytes
        self._changed.set()
