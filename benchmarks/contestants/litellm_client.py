"""Run litellm's ``aspeech`` with a semaphore; keep all audio in memory, and write it at the end."""

from __future__ import annotations

import asyncio

import litellm

from benchmarks.contestants.task import MODEL, VOICE, Row, SpokenRow, Task, TaskResult, compete


async def speak_all(task: Task) -> list[SpokenRow]:
    """Speak all rows, ``max_concurrency`` at a time."""
    slots = asyncio.Semaphore(task.max_concurrency)
    rows = task.rows()

    async def say(row: Row) -> SpokenRow:
        try:
            response = await litellm.aspeech(
                model=f"openai/{MODEL}", voice=VOICE, input=row[1], api_base=f"{task.base_url}/v1", api_key="none"
            )
            return (*row, response.content)
        finally:
            slots.release()

    tasks = []
    while await slots.acquire() and (row := next(rows, None)):
        tasks.append(asyncio.create_task(say(row)))
    return list(await asyncio.gather(*tasks))


def do(task: Task) -> TaskResult:
    """Run the task."""
    return task.save(asyncio.run(speak_all(task))), {}


if __name__ == "__main__":
    compete(do, ("litellm", "openai", "httpx"))
