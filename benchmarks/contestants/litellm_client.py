"""litellm's ``aspeech`` and a semaphore; it keeps what it got in memory, and writes it at the end."""

from __future__ import annotations

import asyncio

import litellm

from benchmarks.contestants.task import MODEL, VOICE, Done, Kept, Row, Task, compete


async def speak_all(task: Task) -> list[Kept]:
    """Say every row, ``max_concurrency`` at a time."""
    slots = asyncio.Semaphore(task.max_concurrency)
    rows = task.rows()

    async def say(row: Row) -> Kept:
        try:
            response = await litellm.aspeech(
                model=f"openai/{MODEL}", voice=VOICE, input=row[1], api_base=f"{task.base_url}/v1", api_key="none"
            )
            return (*row, response.content)
        finally:
            slots.release()

    said = []
    while await slots.acquire() and (row := next(rows, None)):
        said.append(asyncio.create_task(say(row)))
    return list(await asyncio.gather(*said))


def do(task: Task) -> Done:
    """Do the task."""
    return task.keep(asyncio.run(speak_all(task))), {}


if __name__ == "__main__":
    compete(do, ("litellm", "openai", "httpx"))
