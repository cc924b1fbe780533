"""The bill of a frame."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

import tts_pipeline as tts
from tests.builders import call_arguments, line_frame
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.call_store import CallDirectory, CallStore
from tts_pipeline.report import usage
from tts_pipeline.schema import usage_schema
from tts_pipeline.storage.local_store import LocalStore


def test_a_bill_is_that_of_the_frame(tone_service: LocalService, tmp_path: Path) -> None:
    """Of some of its rows, too, and of an Arrow table; without a frame of all. What bought nothing has none."""
    arguments = call_arguments(tone_service, tmp_path)
    assert tts.usage_of(work_dir=tmp_path).height == 0
    first = tts.synthesize(line_frame(5), voice="Cherry", **arguments)
    other = tts.synthesize(line_frame(3).to_arrow(), voice="Chelsie", **arguments)
    assert tts.usage_of(first[2:3], work_dir=tmp_path).height == 5
    assert set(tts.usage_of(other, work_dir=tmp_path)["voice"]) == {"Chelsie"}
    assert tts.usage_of(work_dir=tmp_path)["cost"].sum() == first["cost"].sum() + pl.DataFrame(other)["cost"].sum()
    again = tts.synthesize(line_frame(5), voice="Cherry", **arguments)
    assert tts.usage_of(again, work_dir=tmp_path).height == 0
    with pytest.raises(ConfigurationError, match="invocation_id"):
        tts.usage_of(line_frame(), work_dir=tmp_path)


def test_a_folder_may_have_any_name(tone_service: LocalService, tmp_path: Path) -> None:
    """Also one that is a pattern elsewhere."""
    folder = tmp_path / "a[1]*"
    spoken = tts.synthesize(line_frame(2), voice="Cherry", **call_arguments(tone_service, folder))
    assert tts.usage_of(spoken, work_dir=folder).height == 2


def test_kept_usage_is_a_dataset_to_report_on(tone_service: LocalService, tmp_path: Path) -> None:
    """The folder of a call that has ended holds its descriptor and its usage, as any dataset does."""
    spoken = tts.synthesize(line_frame(5), voice="Cherry", **call_arguments(tone_service, tmp_path))
    bill = tts.usage_of(spoken, work_dir=tmp_path)
    reported = usage(list((tmp_path / "frames" / "usage").iterdir()))
    assert reported.select(bill.columns).collect().equals(bill)
    assert not set(bill.columns).symmetric_difference(usage_schema().names)


def test_a_call_that_was_killed_is_on_the_bill(tmp_path: Path) -> None:
    """All that it may have spent, as one row whose outcome is not known."""
    store = LocalStore(tmp_path / "frames/calls/x/dataset")
    write_claim(store, 0, Claim("j", "i", 1, 500, Decimal("0.04"), "CNY", "local", "m", None))
    rows = tts.usage_of(work_dir=tmp_path).select("outcome", "characters_upper_bound", "cost_upper_bound").rows()
    assert rows == [("unknown", 500, Decimal("0.04"))]


def test_a_call_is_on_the_bill_once_while_it_is_closed(tmp_path: Path) -> None:
    """Wherever its files are: in its own folder, in that of a finished call, or among the usage of closed calls."""
    store, names = CallStore.at(tmp_path), [f"call{number:02}" for number in range(40)]
    for name in names:
        claim = Claim(name, "i", 1, 500, Decimal("0.04"), "CNY", "local", "m", None)
        write_claim(LocalStore(tmp_path / f"frames/calls/{name}/dataset"), 0, claim)

    def close_calls() -> None:
        for number, name in enumerate(names):
            close = store.finish_call if number % 2 else store.try_close
            close(CallDirectory(tmp_path / "frames/calls" / name))

    with ThreadPoolExecutor(1) as closer:
        closing = closer.submit(close_calls)
        while not closing.done():
            assert sorted(tts.usage_of(work_dir=tmp_path)["journal_id"]) == names
    closing.result()
    assert sorted(tts.usage_of(work_dir=tmp_path)["journal_id"]) == names
    assert len(store.usage_files()) == len(names)
