"""Make datasets that are (nearly) finished, without making them row by row.

The descriptor comes from planning the job over the whole source. The first part is run. Every other part gets links to
the first part's files under its own names, and a copy of the first part's marker with its own number and names. A
resume, a finalize and the totals read no more than these.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import orjson

from tts_pipeline.dataset.descriptor import Descriptor, read_descriptor
from tts_pipeline.dataset.names import part_name
from tts_pipeline.job import Job, Shard, plan, publish, run_parts
from tts_pipeline.storage.json_files import json_bytes
from tts_pipeline.storage.local_store import LocalStore


def make_finished_dataset(job: Job, *, open_parts: int) -> None:
    """Make a job's dataset with all parts done except the last ones; finalize it if no part is open.

    Args:
        job: A job with a local destination and more than ``open_parts`` parts; its service speaks the first part.
        open_parts: The number of last parts that stay open.
    """
    plan(job)
    stopped = run_parts(job, Shard(0, 0, 1)).stopped
    if stopped is not None:
        raise stopped
    folder = Path(job.destination)
    for number in range(1, _descriptor(folder).parts - open_parts):
        _copy_first_part(folder, number)
    if not open_parts:
        publish(job)


def undo_last_part(job: Job) -> None:
    """Undo a run of the last part, and remove ``parts.json``."""
    folder = Path(job.destination)
    last = part_name(_descriptor(folder).parts - 1)
    for path in [*folder.glob(f"*/{last}*"), folder / "parts.json"]:
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / ".work", ignore_errors=True)


def _descriptor(folder: Path) -> Descriptor:
    descriptor = read_descriptor(LocalStore(folder))
    assert descriptor is not None
    return descriptor


def _copy_first_part(folder: Path, number: int) -> None:
    first, name = part_name(0), part_name(number)
    text = (folder / "done" / f"{first}.json").read_text().replace(first, name)
    marker = {**orjson.loads(text), "part": number}
    marker.pop("checksum")
    for file in marker["files"]:
        os.link(folder / file.replace(name, first), folder / file)
    (folder / "done" / f"{name}.json").write_bytes(json_bytes(marker))
