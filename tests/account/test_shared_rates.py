"""Workers that share one account's rate, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.account.simulation import SimulatedService, SimulatedWorker, VirtualDatabase
from tests.flow.virtual_time import run_virtually
from tts_pipeline.config import Limits
from tts_pipeline.errors import StoppedError

RATE = Limits(requests_per_minute=1_200, max_concurrency=16)
BURST_OF_20_S, NO_BURST_S = 0.95, 0.0
TICK_S = 2e-5


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize(("tolerance_s", "least", "most"), [(BURST_OF_20_S, 0.97, 0.0), (NO_BURST_S, 0.9, 0.02)])
def test_together_they_have_the_rate(
    tmp_path: Path, workers: int, tolerance_s: float, least: float, most: float
) -> None:
    """They start and end at different times; a service that takes no burst refuses about one request in a hundred."""

    async def main() -> SimulatedService:
        service, database = SimulatedService(1_200, tolerance_s), VirtualDatabase(tmp_path / "account.db")
        crowd = [SimulatedWorker(f"{n}", database, service, RATE, seed=n) for n in range(workers)]
        for worker in crowd:
            worker.start()
            await asyncio.sleep(1.3)
        await asyncio.sleep(60)
        for worker in crowd:
            await worker.finish()
            await asyncio.sleep(1.3)
        return service

    service = run_virtually(main(), tick_s=TICK_S)
    assert service.share(until_s=1_000 + 60) >= least
    assert service.throttled_share() <= most


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_the_others_have_the_share_of_a_dead_one(tmp_path: Path, end: str) -> None:
    """Within ten seconds, and for as long as it is gone; one that was only stopped comes back without a burst."""

    async def main() -> SimulatedService:
        service, database = SimulatedService(1_200, BURST_OF_20_S), VirtualDatabase(tmp_path / "account.db")
        crowd = [SimulatedWorker(f"{n}", database, service, RATE, seed=n) for n in range(3)]
        for worker in crowd:
            worker.start()
        await asyncio.sleep(10)
        if end == "killed":
            await crowd[0].kill()
        else:
            crowd[0].session.stop()
        await asyncio.sleep(60)
        crowd[0].session.go_on()
        await asyncio.sleep(10)
        for worker in crowd[end == "killed" :]:
            await worker.finish()
        return service

    service = run_virtually(main(), tick_s=TICK_S)
    assert service.share(1_010, 1_020) > 0.9
    assert service.share(1_020, 1_070) > 0.97
    assert service.throttled_share() == 0
    after = Counter(who for time_s, who, _ in service.arrivals if 1_020 <= time_s < 1_070)
    assert "0" not in after
    assert ("0" in {who for time_s, who, _ in service.arrivals if time_s > 1_070}) == (end == "stopped")


def test_a_job_has_its_share_however_many_workers_another_has(tmp_path: Path) -> None:
    """About half of the rate, with one worker beside three; by workers it would be a quarter."""

    async def main() -> SimulatedService:
        service, database = SimulatedService(1_200, BURST_OF_20_S), VirtualDatabase(tmp_path / "account.db")
        jobs = ["large", "large", "large", "small"]
        crowd = [SimulatedWorker(f"{job}{n}", database, service, RATE, job=job, seed=n) for n, job in enumerate(jobs)]
        for worker in crowd:
            worker.start()
        await asyncio.sleep(60)
        for worker in crowd:
            await worker.finish()
        return service

    service = run_virtually(main(), tick_s=TICK_S)
    sent = Counter(who.rstrip("0123456789") for time_s, who, _ in service.arrivals if time_s > 1_005)
    assert 0.35 < sent["small"] / sent.total() < 0.65
    assert service.throttled_share() == 0


def test_a_429_of_one_is_a_pause_of_all(tmp_path: Path) -> None:
    """For as long as the service asks; once, although several of them met it."""

    async def main() -> SimulatedService:
        service, database = SimulatedService(1_200, BURST_OF_20_S), VirtualDatabase(tmp_path / "account.db")
        service.retry_after_s = 7.0
        crowd = [SimulatedWorker(f"{n}", database, service, RATE, seed=n) for n in range(3)]
        for worker in crowd:
            worker.start()
        await asyncio.sleep(10)
        service.limit.try_acquire = lambda: False  # type: ignore[method-assign]
        await asyncio.sleep(0.06)
        del service.limit.try_acquire
        await asyncio.sleep(20)
        for worker in crowd:
            await worker.finish()
        return service

    service = run_virtually(main(), tick_s=TICK_S)
    times_s = [time_s for time_s, _, _ in service.arrivals]
    silences_s = sorted(after - before for before, after in pairwise(times_s))
    assert 5.9 < silences_s[-1] <= 7.1  # another worker's slots of the next second may still be used
    assert silences_s[-2] < 0.7
    assert service.share(1_018, 1_030) > 0.97


def test_a_service_that_permits_less_than_it_says_is_learned(tmp_path: Path) -> None:
    """And the rate goes back to what is permitted when the service does."""

    async def main() -> SimulatedService:
        service, database = SimulatedService(1_080, BURST_OF_20_S), VirtualDatabase(tmp_path / "account.db")
        crowd = [SimulatedWorker(f"{n}", database, service, RATE, seed=n) for n in range(3)]
        for worker in crowd:
            worker.start()
        await asyncio.sleep(120)
        service.limit._interval_s = 60 / 1_200
        await asyncio.sleep(180)
        for worker in crowd:
            await worker.finish()
        return service

    service = run_virtually(main(), tick_s=TICK_S)
    refused = [time_s for time_s, _, is_admitted in service.arrivals if not is_admitted]
    assert sum(time_s > 1_060 for time_s in refused) < 0.02 * sum(time_s > 1_060 for time_s, _, _ in service.arrivals)
    assert service.share(1_060, 1_120) > 0.95
    assert sum(time_s > 1_270 for time_s, _, _ in service.arrivals) > 0.97 * 30 * 20


def test_characters_have_a_rate_too(tmp_path: Path) -> None:
    """Texts of very different lengths, from two workers, together."""
    random = Random(7)
    limits = Limits(characters_per_minute=60_000, max_concurrency=16)
    lengths = list[int]()

    def draw() -> int:
        lengths.append(random.choice([10, 50, 200]))
        return lengths[-1]

    async def main() -> SimulatedService:
        service, database = SimulatedService(1e9, 0.0), VirtualDatabase(tmp_path / "account.db")
        crowd = [SimulatedWorker(f"{n}", database, service, limits, characters=draw, seed=n) for n in range(2)]
        for worker in crowd:
            worker.start()
        await asyncio.sleep(120)
        for worker in crowd:
            await worker.finish()
        return service

    service = run_virtually(main(), tick_s=TICK_S)
    per_minute = sum(lengths[: len(service.arrivals)]) / 2
    assert 0.93 * 60_000 < per_minute < 1.02 * 60_000


def test_without_a_rate_the_store_hears_a_heartbeat_a_second(tmp_path: Path) -> None:
    """Nothing waits, and a 429 is still told to the others."""

    async def main() -> tuple[SimulatedService, list[int]]:
        limits = Limits(max_concurrency=16)
        service, database = SimulatedService(1e9, 0.0), VirtualDatabase(tmp_path / "account.db")
        crowd = [SimulatedWorker(f"{n}", database, service, limits, seed=n) for n in range(2)]
        for worker in crowd:
            worker.start()
        await asyncio.sleep(60)
        for worker in crowd:
            await worker.finish()
        return service, [worker.session.exchanges for worker in crowd]

    service, exchanges = run_virtually(main(), tick_s=TICK_S)
    assert len(service.arrivals) > 2 * 16 * 60 / 0.32
    assert all(59 <= count <= 62 for count in exchanges)


def test_a_store_that_is_away_for_too_long_stops_the_run(tmp_path: Path) -> None:
    """Until then the run waits for it, with no request."""

    async def main() -> tuple[float, StoppedError | None]:
        limits = Limits(requests_per_minute=600, max_concurrency=4, max_outage_s=60.0)
        service, database = SimulatedService(1e9, 0.0), VirtualDatabase(tmp_path / "account.db")
        worker = SimulatedWorker("0", database, service, limits)
        worker.start()
        await asyncio.sleep(10)
        worker.session.lose_store()
        await asyncio.sleep(80)
        await worker.kill()
        return service.arrivals[-1][0], worker.limiter.policy.stop_reason

    last_s, reason = run_virtually(main(), tick_s=TICK_S)
    assert 1_010 <= last_s < 1_011
    assert reason is not None
    assert reason.stopped_by == "storage"
    assert "account store" in reason.message


def test_attempts_in_flight_are_shared_too(tmp_path: Path) -> None:
    """Workers come and go; together they never have more in flight than the account may, and soon as many."""

    async def main() -> tuple[SimulatedService, list[int]]:
        limits = Limits(max_concurrency=16, account_concurrency=10)
        service, database = SimulatedService(1e9, 0.0), VirtualDatabase(tmp_path / "account.db")
        crowd = [SimulatedWorker(f"{n}", database, service, limits, seed=n) for n in range(4)]
        in_flight = list[int]()
        for worker in crowd:
            worker.start()
            await asyncio.sleep(5)
            in_flight.append(service.in_flight)
        await crowd[0].kill()
        await crowd[1].finish()
        await asyncio.sleep(10)
        in_flight.append(service.in_flight)
        for worker in crowd[2:]:
            await worker.finish()
        return service, in_flight

    service, in_flight = run_virtually(main(), tick_s=TICK_S)
    assert service.max_in_flight == 10
    assert min(in_flight) >= 9  # one may just be between two attempts
