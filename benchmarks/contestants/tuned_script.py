"""Run the bare script with the fastest libraries for JSON and base64, which this package uses too."""

from __future__ import annotations

import asyncio

import orjson
import pybase64

from benchmarks.contestants.aiohttp_script import speak_all
from benchmarks.contestants.task import Task, TaskResult, compete


def do(task: Task) -> TaskResult:
    """Run the task."""
    return task.save(asyncio.run(speak_all(task, orjson.loads, pybase64.b64decode))), {}


if __name__ == "__main__":
    compete(do, ("aiohttp", "orjson", "pybase64", "pyarrow"))
