"""Run openai's own asynchronous client with a semaphore; keep all audio in memory, and write it at the end."""

from __future__ import annotations

import asyncio

from openai import AsyncOpenAI

from benchmarks.contestants.task import MODEL, VOICE, Row, SpokenRow, Task, TaskResult, compete


async def speak_all(task: Task) -> list[SpokenRow]:
    """Speak all rows, ``max_concurrency`` at a time."""
    slots = asyncio.Semaphore(task.max_concurrency)
    rows = task.rows()

    async def say(client: AsyncOpenAI, row: Row) -> SpokenRow:
        try:
            response = await client.audio.speech.create(model=MODEL, voice=VOICE, input=row[1])
            return (*row, await response.aread())
        finally:
            slots.release()

    async with AsyncOpenAI(base_url=f"{task.base_url}/v1", api_key="none") as client:
        tasks = []
        while await slots.acquire() and (row := next(rows, None)):
            tasks.append(asyncio.create_task(say(client, row)))
        return list(await asyncio.gather(*tasks))


def do(task: Task) -> TaskResult:
    """Run the task."""
    return task.save(asyncio.run(speak_all(task))), {}


if __name__ == "__main__":
    compete(do, ("openai", "httpx"))
