"""The store's clock: one for all processes of a machine, that no setting of the time of day moves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.machine import patience
from tts_pipeline.account import store_clock
from tts_pipeline.account.database import StoreLostError
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.sqlite import SqliteDatabase
from tts_pipeline.account.store_clock import ClockMap

_HOUR_US = 3_600_000_000


class _Machine:
    """A machine whose clocks a test sets: microseconds since its start, the time of day, and the id of its start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running_us = 10_000_000
        self.wall_us = 1_800_000_000_000_000
        self.boot_id = "first"
        monkeypatch.setattr(store_clock, "_boot_id", lambda: self.boot_id)
        monkeypatch.setattr(time, "clock_gettime_ns", lambda _: self.running_us * 1_000)
        monkeypatch.setattr(time, "time_ns", lambda: self.wall_us * 1_000)

    def run(self, microseconds: int) -> None:
        """Let time pass."""
        self.running_us += microseconds
        self.wall_us += microseconds

    def restart(self, *, off_us: int, set_back_us: int = 0) -> None:
        """Start it again, after a while; its battery may have lost the time of day."""
        self.boot_id += "+"
        self.running_us = 5_000_000
        self.wall_us += off_us - set_back_us


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> _Machine:
    """A machine that has run for ten seconds."""
    return _Machine(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with its tables."""
    migrate(SqliteDatabase(tmp_path / "account.db"))
    return tmp_path / "account.db"


def _now_us(database: SqliteDatabase) -> int:
    with database.transaction() as transaction:
        return transaction.now_us()


def test_two_processes_agree(path: Path) -> None:
    """Within microseconds: they ask in turn, and each answer lies between the two before and after it."""
    code = f"""
import sys
from pathlib import Path
from tts_pipeline.account.sqlite import SqliteDatabase
database = SqliteDatabase(Path({str(path)!r}))
for _ in sys.stdin:
    with database.transaction() as transaction:
        print(transaction.now_us(), flush=True)
"""
    own, times_us = SqliteDatabase(path), []
    with subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for _ in range(50):
            times_us.append(_now_us(own))
            other.stdin.write("?\n")
            other.stdin.flush()
            times_us.append(int(other.stdout.readline()))
        other.stdin.close()
        other.wait(patience(10))
    assert times_us == sorted(times_us)
    assert abs(times_us[-1] - time.time_ns() // 1_000) < patience(1) * 1_000_000


@pytest.mark.parametrize("jump_us", [-24 * _HOUR_US, 24 * _HOUR_US])
def test_a_time_of_day_that_is_set_changes_nothing(machine: _Machine, path: Path, jump_us: int) -> None:
    """For processes that run, and for those that come later."""
    database = SqliteDatabase(path)
    first_us = _now_us(database)
    assert first_us == machine.wall_us
    machine.wall_us += jump_us
    machine.run(1_000)
    assert _now_us(database) == first_us + 1_000
    assert _now_us(SqliteDatabase(path)) == first_us + 1_000


def test_a_restart_goes_on_from_the_time_of_day(machine: _Machine, path: Path) -> None:
    """For all processes of the new start alike."""
    _now_us(SqliteDatabase(path))
    machine.restart(off_us=_HOUR_US)
    database, expected_us = SqliteDatabase(path), machine.wall_us
    assert _now_us(database) == expected_us
    machine.wall_us += 12 * _HOUR_US
    assert _now_us(SqliteDatabase(path)) == expected_us


def test_a_restart_never_goes_backwards(machine: _Machine, path: Path) -> None:
    """Although the battery of the clock is empty, and the store was used for hours before."""
    database, last_us = SqliteDatabase(path), 0
    for _ in range(300):
        machine.run(59_000_000)
        last_us = _now_us(database)
    machine.restart(off_us=1_000_000, set_back_us=1_000 * _HOUR_US)
    assert last_us < _now_us(SqliteDatabase(path)) < last_us + 2 * store_clock._KEEP_US + 1


def test_a_machine_without_an_id_of_its_start_never_goes_backwards(machine: _Machine, path: Path) -> None:
    """A start that has run for less time than the one before is another one."""
    machine.boot_id = ""
    machine.run(_HOUR_US)
    last_us = _now_us(SqliteDatabase(path))
    machine.restart(off_us=1_000_000)
    machine.boot_id = ""
    assert _now_us(SqliteDatabase(path)) > last_us


def test_an_undone_transaction_takes_no_clock_along(machine: _Machine, path: Path) -> None:
    """The first look at the clock may be undone: what the next process finds then holds for all."""
    database = SqliteDatabase(path)
    with pytest.raises(ZeroDivisionError):
        _look_and_fail(database)
    machine.wall_us += _HOUR_US
    assert _now_us(SqliteDatabase(path)) == machine.wall_us
    assert _now_us(database) == machine.wall_us


def _look_and_fail(database: SqliteDatabase) -> None:
    with database.transaction() as transaction:
        transaction.now_us()
        raise ZeroDivisionError


def test_a_new_file_has_a_new_clock(machine: _Machine, path: Path) -> None:
    """For processes that had the old one, too."""
    database, other = SqliteDatabase(path), SqliteDatabase(path)
    _now_us(database)
    path.unlink()
    machine.wall_us += _HOUR_US
    migrate(other)
    assert _now_us(other) == machine.wall_us
    with pytest.raises(StoreLostError):
        _now_us(database)
    assert _now_us(database) == machine.wall_us


def test_times_of_the_store_are_local_times() -> None:
    """And back; the store read its clock in the middle of the exchange, as far as we know."""
    clock_map = ClockMap()
    clock_map.add_sample(100.0, 5_000_000, 100.002)
    assert clock_map.local_s(5_000_000) == pytest.approx(100.001)
    assert clock_map.store_us(100.001) == 5_000_000
    assert clock_map.round_trip_s == pytest.approx(0.002)


def test_the_quickest_of_ten_exchanges_counts() -> None:
    """A slow one says little; one that was eleven exchanges ago is forgotten, as clocks drift."""
    clock_map = ClockMap()
    clock_map.add_sample(1.0, 1_000_000 + 300, 1.0002)  # 200 us off, by 0.2 ms of round trip
    for number in range(2, 11):
        clock_map.add_sample(number, number * 1_000_000 + 40_000, number + 0.05)
        assert clock_map.local_s(1_000_300) == pytest.approx(1.0001)
    clock_map.add_sample(11.0, 11_000_000 + 40_000, 11.05)
    assert clock_map.local_s(11_040_000) == pytest.approx(11.025)
