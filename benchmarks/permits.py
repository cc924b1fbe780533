"""Take slots from an account store as fast as it gives them, as one worker: ``permits.py STORE NAME SECONDS``."""

from __future__ import annotations

import json
import sys
import time

from tts_pipeline.account.exchange import Exchange, Requests
from tts_pipeline.account.identity import Account
from tts_pipeline.account.location import find_store
from tts_pipeline.account.worker_rows import Worker

BUNCH = 10
"""Slots of one request: what a worker wants that has as many rows waiting."""

_INTERVAL_US = 1


def main(place: str, name: str, seconds: float) -> None:
    """Wait for a line on the standard input; then take slots, and print how many, in how many exchanges."""
    location = find_store(place)
    assert location is not None
    account = Account("benchmark", "permits", "model")
    worker = Worker(name, account, name, "", "run", "host", 0, 0, _INTERVAL_US)
    exchange = Exchange(location.open(), worker)
    exchange.run(Requests())
    print("ready", flush=True)
    sys.stdin.readline()
    slots = exchanges = 0
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        slots += len(exchange.run(Requests(slots=BUNCH)).slots_s)
        exchanges += 1
    exchange.end()
    print(json.dumps({"slots": slots, "exchanges": exchanges}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
