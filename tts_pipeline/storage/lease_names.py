"""Names of the files of leases and heartbeats at a destination."""

from __future__ import annotations

import re

from tts_pipeline.storage.store import LEASES

_EPOCH = re.compile(r"[0-9]{6,15}")
PART_LEASE_NAME = re.compile(r"(part-[0-9]{5,9})-[0-9]{6,15}\.json")
HEARTBEAT_NAME = re.compile(r"alive-([0-9a-f]{32})\.json")


def lease_name(resource: str, epoch: int) -> str:
    """Return the name of the lease of a part, or of another resource, in an epoch."""
    return f"{LEASES}/{resource}-{epoch:06}.json"


def lease_epochs(resource: str, names: list[str]) -> list[int]:
    """Return the epochs that there are of a lease; names that are none of ours are left alone."""
    middles = [
        name.removeprefix(f"{resource}-").removesuffix(".json") for name in names if name.startswith(f"{resource}-")
    ]
    return [int(middle) for middle in middles if _EPOCH.fullmatch(middle) and f"{int(middle):06}" == middle]


def heartbeat_name(invocation_id: str) -> str:
    """Return the name of a process's sign of life within the dataset."""
    return f"{LEASES}/alive-{invocation_id}.json"
