from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tts_pipeline.job.gc_tuning import GC_THRESHOLD, gc_tuned


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


def test_while_a_job_runs_the_collector_looks_seldom() -> None:
    """Afterwards as often as before, even after an error; other settings stay."""
    gc.set_threshold(600, 7, 8)
    thresholds = []

    def run() -> None:
        with gc_tuned():
            thresholds.append(gc.get_threshold())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert thresholds == [(GC_THRESHOLD, 7, 8)]
    assert gc.get_threshold() == (600, 7, 8)


def test_jobs_that_overlap_leave_it_as_the_first_one_found_it() -> None:
    """The end of the first job changes nothing for the other."""
    gc.set_threshold(600, 7, 8)
    first, other = gc_tuned(), gc_tuned()
    first.__enter__()
    other.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == (GC_THRESHOLD, 7, 8)
    other.__exit__(None, None, None)
    assert gc.get_threshold() == (600, 7, 8)


@pytest.mark.parametrize("young", [0, GC_THRESHOLD + 1])
def test_a_collector_that_looks_more_seldom_stays_so(young: int) -> None:
    """A collector that is off, or runs even less often, stays as it is."""
    gc.set_threshold(young, 7, 8)
    with gc_tuned():
        assert gc.get_threshold() == (young, 7, 8)
    assert gc.get_threshold() == (young, 7, 8)
