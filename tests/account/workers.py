"""Workers, as the tests of the account store need them."""

from __future__ import annotations

import uuid

from tts_pipeline.account.identity import Account
from tts_pipeline.account.worker_rows import Worker


def worker(name: str = "", **changes: object) -> Worker:
    """Return a worker with a name, or one of its own."""
    values: dict[str, object] = {
        "worker_id": name or uuid.uuid4().hex,
        "account": Account("local", "key", "model"),
        "dataset_id": "dataset",
        "destination": "/data/out",
        "door": "run",
        "host": "host-1",
        "pid": 4711,
        "started_wall_us": 1_764_547_200_000_000,
        "interval_us": 100_000,
    }
    return Worker(**(values | changes))  # type: ignore[arg-type] # the fields of a worker
