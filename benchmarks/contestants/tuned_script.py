"""The bare script with the fastest JSON and base64 there are, which are also ours."""

from __future__ import annotations

import asyncio

import orjson
import pybase64

from benchmarks.contestants.aiohttp_script import speak_all
from benchmarks.contestants.task import Task, TaskResult, compete


def do(task: Task) -> TaskResult:
    """Do the task."""
    return task.save(asyncio.run(speak_all(task, orjson.loads, pybase64.b64decode))), {}


if __name__ == "__main__":
    compete(do, ("aiohttp", "orjson", "pybase64", "pyarrow"))
