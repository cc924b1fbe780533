"""Run the bare script, the base of all comparisons: aiohttp, no retries, all in memory, one Parquet file at the end.

JSON and base64 are those of the standard library, as in most scripts.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import aiohttp

from benchmarks.contestants.task import MODEL, VOICE, SpokenRow, Task, TaskResult, compete

Loads = Callable[[bytes], Any]
Decode = Callable[[str], bytes]


async def speak_all(task: Task, loads: Loads, decode: Decode) -> list[SpokenRow]:
    """Speak all rows, ``max_concurrency`` at a time.

    Args:
        task: The rows and the service.
        loads: Parses JSON.
        decode: Decodes base64.
    """
    rows = task.rows()
    spoken_rows: list[SpokenRow] = []

    async def work(session: aiohttp.ClientSession) -> None:
        for name, text in rows:
            spoken_rows.append((name, text, await speak(session, task.url, text, loads, decode)))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session) for _ in range(task.max_concurrency)))
    return spoken_rows


async def speak(session: aiohttp.ClientSession, url: str, text: str, loads: Loads, decode: Decode) -> bytes:
    """Speak one row."""
    async with session.post(url, json={"model": MODEL, "input": text, "voice": VOICE}) as response:
        response.raise_for_status()
        body = await response.read()
        if response.content_type != "application/json":
            return body
    audio = loads(body)["output"]["audio"]
    if "data" in audio:
        return decode(audio["data"])
    async with session.get(audio["url"]) as response:
        response.raise_for_status()
        return await response.read()


def do(task: Task) -> TaskResult:
    """Run the task."""
    return task.save(asyncio.run(speak_all(task, json.loads, base64.b64decode))), {}


if __name__ == "__main__":
    compete(do, ("aiohttp", "pyarrow"))
