"""Define the sizes of all measurements, full and quick."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Settings:
    """The sizes of all measurements.

    Args:
        latency_ms: The latency of the load service.
        concurrencies: Numbers of requests in flight.
        sizes: Bytes of audio in an answer that is spoken of in all shapes.
        large_bytes: Bytes of audio in a large answer, which comes as base64.
        run_s: The length of a run at the service's speed, which decides its rows.
        least_rows: The fewest rows of a run, so that what a job does once weighs little.
        rounds: Rounds of the bare script and of ours.
        pinned_rounds: Rounds of these two with a core for each side, and on a slow machine.
        peer_concurrencies: Requests in flight beside the other contestants, which have one round.
        peer_s: The time after which another contestant stops.
        usual_concurrency: Requests in flight if one setting is enough.
        memory_rows: Rows of a small and of a large job.
        memory_bytes: Bytes of audio in the answers to these.
        straggler_s: The length of a run with stragglers, before its tail.
        requests_per_minute: The enforced rate.
        rate_s: The length of a run under this rate.
        permits_s: How long processes take permits from an account store.
        stopped_s: How long a process that shares a rate is stopped.
        done_rows: Rows of the datasets that are resumed.
        start_rows: Rows of the new job in the measurement of the time to a first request.
        tries: Repetitions of measurements that take a second.
        scale_rows: Rows of the large job.
        scale_files: Files of its source.
        scale_run_rows: Rows of the run that measures the memory of large parts.
        ledger_rows: Requests of a ledger's month.
        ledger_files: Files of this month.
        page_rows: Requests of the month that the page shows.
        ledger_small_files: Files of a month of small files.
        profile_rounds: Runs of each profile.
    """

    latency_ms: int = 200
    concurrencies: tuple[int, ...] = (32, 128, 256)
    sizes: tuple[int, ...] = (20_000, 48_000)
    large_bytes: int = 200_000
    run_s: float = 5.0
    least_rows: int = 1_600
    rounds: int = 2
    pinned_rounds: int = 1
    peer_concurrencies: tuple[int, ...] = (32, 256)
    peer_s: float = 6.0
    usual_concurrency: int = 128
    memory_rows: tuple[int, int] = (10_000, 100_000)
    memory_bytes: int = 20_000
    straggler_s: float = 12.0
    requests_per_minute: int = 1_200
    rate_s: float = 30.0
    permits_s: float = 5.0
    stopped_s: float = 60.0
    done_rows: tuple[int, int] = (1_000, 1_000_000)
    start_rows: int = 100_000
    tries: int = 5
    scale_rows: int = 10_000_000
    scale_files: int = 10_000
    scale_run_rows: int = 10_000
    ledger_rows: int = 50_000_000
    ledger_files: int = 600
    page_rows: int = 20_000_000
    ledger_small_files: int = 10_000
    profile_rounds: int = 2

    def rows(self, max_concurrency: int, *, run_s: float | None = None) -> int:
        """Return the number of rows of a run of ``run_s``; None is the usual length."""
        rows = int(max_concurrency * 1_000 / self.latency_ms * (run_s or self.run_s))
        return rows if run_s else max(rows, self.least_rows)

    def expected_s(self, rows: int, max_concurrency: int) -> float:
        """Return the approximate length of a run in seconds, with the start of its process."""
        return rows / min(max_concurrency * 1_000 / self.latency_ms, USUAL_ROWS_PER_S) + PROCESS_S


USUAL_ROWS_PER_S = 850
"""The speed of the bare script on two cores, only to estimate the time of all benchmarks."""
PROCESS_S = 1.5

FULL = Settings()
QUICK = replace(
    FULL,
    concurrencies=(256,),
    run_s=1.5,
    least_rows=500,
    rounds=1,
    peer_concurrencies=(256,),
    peer_s=3.0,
    memory_rows=(2_000, 10_000),
    straggler_s=4.0,
    rate_s=10.0,
    permits_s=1.0,
    stopped_s=20.0,
    done_rows=(1_000, 100_000),
    start_rows=20_000,
    tries=2,
    scale_rows=1_000_000,
    scale_files=1_000,
    scale_run_rows=4_000,
    ledger_rows=1_000_000,
    ledger_files=60,
    page_rows=500_000,
    ledger_small_files=500,
    profile_rounds=1,
)
