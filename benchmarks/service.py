"""Run the load service as a process, and read its statistics."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.answers import AnswerSpec

PROJECT = Path(__file__).parent.parent
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """The service's statistics since its last reset.

    Args:
        requests: The number of requests.
        max_in_flight: The most requests in flight at the same time.
        first_s: The time of the first request, on the machine's monotonic clock; None without requests.
        last_s: The time of the last request.
        busy_s: Request-seconds between these two.
        cpu_s: The service's own CPU time.
    """

    requests: int
    max_in_flight: int
    first_s: float | None
    last_s: float | None
    busy_s: float
    cpu_s: float

    def slots_busy(self, max_concurrency: int) -> float:
        """Return the share of ``max_concurrency`` slots that were busy at the service until the source was used up."""
        span_s = (self.last_s or 0.0) - (self.first_s or 0.0)
        return self.busy_s / (span_s * max_concurrency) if span_s > 0 else 0.0


class LoadService:
    """A running load service.

    Args:
        origin: ``http://host:port``.
        pid: Its process.
    """

    def __init__(self, origin: str, pid: int) -> None:
        self.origin = origin
        self.pid = pid

    def prepare(self, spec: AnswerSpec) -> None:
        """Request an answer once, so that the first measured answer is as fast as all others."""
        with closing(http.client.HTTPConnection(urlsplit(self.origin).netloc, timeout=_TIMEOUT_S)) as connection:
            path = urlsplit(replace(spec, latency_ms=0).base_url(self.origin)).path
            connection.request("POST", path, b"{}")
            connection.getresponse().read()

    def stats(self) -> ServiceStats:
        """Return the statistics so far."""
        return self._request_stats("GET")

    def reset(self) -> None:
        """Reset the statistics."""
        self._request_stats("DELETE")

    def _request_stats(self, method: str) -> ServiceStats:
        with closing(http.client.HTTPConnection(urlsplit(self.origin).netloc, timeout=_TIMEOUT_S)) as connection:
            connection.request(method, "/stats")
            return ServiceStats(**json.loads(connection.getresponse().read()))


@contextmanager
def load_service() -> Iterator[LoadService]:
    """Run a load service until the block or this process ends."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield LoadService(process.stdout.readline().strip(), process.pid)
        finally:
            process.stdin.close()
