"""The number of open parts is bounded."""

from __future__ import annotations

import asyncio

import pytest

from tts_pipeline.config import OPEN_TEXT_BYTES
from tts_pipeline.job.part_slots import PartSlots

pytestmark = pytest.mark.anyio


async def test_parts_are_bounded_in_number_and_in_texts() -> None:
    """A closed part makes room for another; long texts take the room, but one part can always open."""
    free = PartSlots(2)
    await free.acquire()
    free.add_text(OPEN_TEXT_BYTES + 1)
    waiting = asyncio.create_task(free.acquire())
    await asyncio.sleep(0)
    assert not waiting.done()
    free.release(OPEN_TEXT_BYTES + 1)
    await waiting
    await free.acquire()
    third = asyncio.create_task(free.acquire())
    await asyncio.sleep(0)
    assert not third.done()
    free.release()
    await third
