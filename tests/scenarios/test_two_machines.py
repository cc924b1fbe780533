"""Machines that share a destination and nothing else: no row twice, no cap passed, and no bill short."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartEmulator
from tests.machine import LEASE_S
from tests.scenarios.machines import CAP, ROWS, Fleet


@pytest.fixture
def make_fleet(tmp_path: Path, emulator: StartEmulator, s3: Mapping[str, str]) -> Iterator[Callable[..., Fleet]]:
    """Make machines that share a bucket and a service; none outlives the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> Fleet:
            service = emulator(voice_mode="tone", tone_bytes=3_000, latency_ms=100)
            return stack.enter_context(closing(Fleet(tmp_path, service, s3, **options)))

        yield make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machines", "rows"), [(2, 40), *(pytest.param(count, ROWS, marks=pytest.mark.kill) for count in (2, 4))]
)
def test_machines_that_begin_together(make_fleet: Callable[..., Fleet], machines: int, rows: int) -> None:
    """Clocks 90 s apart: no row is bought twice, and under a cap of half of what they cost no character beyond it."""
    fleet = make_fleet(rows=rows)
    cap = sum(map(len, fleet.texts)) // 2
    assert rows != ROWS or cap == CAP
    capped = [fleet.add(ahead_s=90 * number, flags=("--max-characters", str(cap))) for number in range(machines)]
    for machine in capped:
        machine.start()
    codes = [machine.wait() for machine in capped]
    charged = fleet.service.bill()["characters"]
    print(f"{machines} machines, a cap of {cap}: {charged} characters, exit codes {codes}")
    assert 0 < charged <= cap
    assert set(codes) <= {4, 6}, [machine.messages for machine in capped]
    free = fleet.start(machines, ahead_s=90)
    if 0 not in [machine.wait() for machine in free]:  # each left what the other had
        fleet.finish(free[0])
    print(fleet.check())
    assert fleet.received() == rows


@pytest.mark.kill
@pytest.mark.timeout(3_600)
def test_a_machine_that_is_lost_and_one_that_sleeps(make_fleet: Callable[..., Fleet]) -> None:
    """Each costs what it had in flight, at most; the sleeper finds its lease gone, and ends in good order."""
    fleet = make_fleet()
    victim, sleeper = fleet.start(2, ahead_s=90)
    fleet.wait_for(30)
    victim.kill(loses_disk=True)
    fleet.count_interruption("lost")
    sleeper.suspend()
    fleet.count_interruption("slept")
    fleet.finish(fleet.add(ahead_s=-90))
    sleeper.resume()
    assert sleeper.wait() == 6
    assert "run the same command again" in sleeper.messages[-1]
    fleet.finish(sleeper)  # which tells what it knew, and removes what it held
    print(fleet.check())


@pytest.mark.kill
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("round_number", range(30))
def test_anything_at_any_time(make_fleet: Callable[..., Fleet], round_number: int) -> None:
    """Two to four machines killed at random, with their disks or without, or stopped for longer than their lease."""
    chance = random.Random(round_number)
    fleet = make_fleet(rows=240, chance=chance)
    cap = chance.choice([None, sum(map(len, fleet.texts)) // 2])
    flags = () if cap is None else ("--max-characters", str(cap))
    running = [fleet.add(ahead_s=chance.uniform(-90, 90), flags=flags) for _ in range(chance.randint(2, 4))]
    for machine in running:
        machine.start()
    for _ in range(chance.randint(2, 5)):
        fleet.wait_for(fleet.received() + chance.randint(1, 30))
        time.sleep(chance.uniform(0, 0.3))
        alive = [machine for machine in running if machine.is_running]
        if not alive:
            break
        machine = chance.choice(alive)
        match chance.choice(["killed", "lost", "slept", "began again"]):
            case "slept":
                machine.suspend()
                time.sleep(chance.uniform(1.2, 2.5) * LEASE_S)
                machine.resume()
                fleet.count_interruption("slept")
            case how:
                machine.kill(loses_disk=how == "lost")
                fleet.count_interruption(how)
                if how == "began again":
                    machine.start()
                elif how == "lost":
                    running.append(fleet.add(flags=flags))
                    running[-1].start()
    fleet.wait()
    if cap is not None:
        assert fleet.service.bill()["characters"] <= cap
    codes = {code for machine in running for code in machine.exits}
    assert codes <= {0, 6} if cap is None else codes <= {0, 4, 6}, [machine.messages for machine in running]
    fleet.finish()
    for machine in running:  # each that kept its disk tells what it knew
        if machine.home.exists():
            fleet.finish(machine)
    print(round_number, cap, fleet.check())
