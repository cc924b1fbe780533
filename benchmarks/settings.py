"""How much is measured: all of it, or a quick look."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured.

    Args:
        latency_ms: Of the load service.
        concurrencies: In flight at one time.
        sizes: Bytes of audio in an answer.
        run_s: What a run takes at the service's own speed, so how many rows it has.
        rounds: Of the bare script and ours.
        peer_rounds: Of the others.
        peer_s: When one of the others is stopped.
        shape_bytes: Of audio, where shapes are compared.
        usual_concurrency: In flight where one setting is enough.
        memory_rows: A small and a large job.
        memory_bytes: Of audio in these.
        straggler_s: What a run with stragglers takes, before its tail.
        requests_per_minute: The enforced rate.
        rate_s: For how long.
        done_rows: Rows of the datasets that are gone on with.
        start_rows: Rows of the new job whose first request is waited for.
        tries: Of what takes a second.
        scale_rows: Of the job that is large.
        scale_files: Of its source.
        scale_run_rows: Of a run that shows what large parts need.
    """

    latency_ms: int = 200
    concurrencies: tuple[int, ...] = (32, 128, 256)
    sizes: tuple[int, ...] = (20_000, 200_000)
    run_s: float = 15.0
    rounds: int = 2
    peer_rounds: int = 1
    peer_s: float = 8.0
    shape_bytes: int = 48_000
    usual_concurrency: int = 128
    memory_rows: tuple[int, int] = (10_000, 100_000)
    memory_bytes: int = 20_000
    straggler_s: float = 12.0
    requests_per_minute: int = 1_200
    rate_s: float = 45.0
    done_rows: tuple[int, int] = (1_000, 1_000_000)
    start_rows: int = 100_000
    tries: int = 5
    scale_rows: int = 10_000_000
    scale_files: int = 10_000
    scale_run_rows: int = 20_000

    def rows(self, max_concurrency: int, *, run_s: float | None = None) -> int:
        """Return how many rows a run has."""
        return int(max_concurrency * 1_000 / self.latency_ms * (run_s or self.run_s))

    def expected_s(self, rows: int, max_concurrency: int) -> float:
        """Return about how long a run takes, its process included."""
        return rows / min(max_concurrency * 1_000 / self.latency_ms, USUAL_ROWS_PER_S) + PROCESS_S


USUAL_ROWS_PER_S = 850
"""Of the bare script on two cores; only for telling beforehand how long all takes."""
PROCESS_S = 2.0

FULL = Settings()
QUICK = replace(
    FULL,
    sizes=(20_000,),
    concurrencies=(32, 256),
    run_s=2.0,
    rounds=2,
    peer_rounds=1,
    peer_s=4.0,
    memory_rows=(2_000, 10_000),
    straggler_s=4.0,
    rate_s=10.0,
    done_rows=(1_000, 100_000),
    start_rows=20_000,
    tries=2,
    scale_rows=1_000_000,
    scale_files=1_000,
    scale_run_rows=4_000,
)
