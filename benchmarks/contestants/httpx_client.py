"""Run httpx's own client and pool, with tenacity around each request, as a careful script would."""

from __future__ import annotations

import asyncio

import httpx
import orjson
import pybase64
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from benchmarks.contestants.task import MODEL, VOICE, Row, SpokenRow, Task, TaskResult, compete


async def speak_all(task: Task) -> list[SpokenRow]:
    """Speak all rows, ``max_concurrency`` at a time."""
    slots = asyncio.Semaphore(task.max_concurrency)
    rows = task.rows()

    async def say(client: httpx.AsyncClient, row: Row) -> SpokenRow:
        try:
            return (*row, await speak(client, task.url, row[1]))
        finally:
            slots.release()

    limits = httpx.Limits(max_connections=task.max_concurrency, max_keepalive_connections=task.max_concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:
        tasks = []
        while await slots.acquire() and (row := next(rows, None)):
            tasks.append(asyncio.create_task(say(client, row)))
        return list(await asyncio.gather(*tasks))


@retry(stop=stop_after_attempt(5), wait=wait_random_exponential(max=20), retry=retry_if_exception_type(httpx.HTTPError))
async def speak(client: httpx.AsyncClient, url: str, text: str) -> bytes:
    """Speak one row."""
    response = await client.post(url, json={"model": MODEL, "input": text, "voice": VOICE})
    response.raise_for_status()
    if response.headers["content-type"] != "application/json":
        return response.content
    audio = orjson.loads(response.content)["output"]["audio"]
    if "data" in audio:
        return pybase64.b64decode(audio["data"])
    return (await client.get(audio["url"])).raise_for_status().content


def do(task: Task) -> TaskResult:
    """Run the task."""
    return task.save(asyncio.run(speak_all(task))), {}


if __name__ == "__main__":
    compete(do, ("httpx", "tenacity", "orjson", "pybase64"))
