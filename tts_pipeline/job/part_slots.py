"""Bound the number of open parts, and lower it if their texts are long."""

from __future__ import annotations

import asyncio

from tts_pipeline.config import OPEN_TEXT_BYTES


class PartSlots:
    """Counts the free slots for open parts, and the bytes of their texts. For one event loop."""

    def __init__(self, max_parts: int) -> None:
        self._free_slots = max_parts
        self._text_bytes = 0
        self._freed = asyncio.Event()

    async def acquire(self) -> None:
        """Wait until a part may be opened: a slot is free, and the texts of the open parts leave room for another."""
        while self._free_slots <= 0 or self._text_bytes > OPEN_TEXT_BYTES:
            self._freed.clear()
            await self._freed.wait()
        self._free_slots -= 1

    def add_text(self, text_bytes: int) -> None:
        """Count the text bytes of a part that was opened."""
        self._text_bytes += text_bytes

    def release(self, text_bytes: int = 0) -> None:
        """Free the slot of a part, and the bytes of its texts."""
        self._free_slots += 1
        self._text_bytes -= text_bytes
        self._freed.set()
