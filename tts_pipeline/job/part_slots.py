"""The number of open parts: bounded, and lower where their texts are long."""

from __future__ import annotations

import asyncio

from tts_pipeline.config import OPEN_TEXT_BYTES


class PartSlots:
    """Counts open parts and their texts. For one event loop.

    Args:
        max_parts: How many may be open.
    """

    def __init__(self, max_parts: int) -> None:
        self._free_slots = max_parts
        self._text_bytes = 0
        self._freed = asyncio.Event()

    async def acquire(self) -> None:
        """Wait until a part may be opened: until one is closed, and the open ones' texts leave room."""
        while self._free_slots <= 0 or self._text_bytes > OPEN_TEXT_BYTES:
            self._freed.clear()
            await self._freed.wait()
        self._free_slots -= 1

    def add_text(self, text_bytes: int) -> None:
        """Take note of what an opened part's texts have."""
        self._text_bytes += text_bytes

    def release(self, text_bytes: int = 0) -> None:
        """Take note that a part is closed, whose texts have so many bytes."""
        self._free_slots += 1
        self._text_bytes -= text_bytes
        self._freed.set()
