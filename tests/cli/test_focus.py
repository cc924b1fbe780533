"""``report --format focus`` prints or writes what cost tools take, and says what it leaves out."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path

import polars as pl
import pytest

from tests.builders import job_of, write_lines
from tests.ledger.usage import COST, journal_id, put_usage, usage_rows
from tests.report.test_usage import a_request, write_dataset
from tts_pipeline.cli import main
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import run_job
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import microseconds
from tts_pipeline.storage.open_store import open_store

FOCUS = ["--format", "focus"]
NOVEMBER = datetime(2026, 11, 15, 12, tzinfo=UTC)


def _billed(csv: str | Path) -> Decimal:
    """Add up the exact amounts of a CSV."""
    table = pl.read_csv(StringIO(csv) if isinstance(csv, str) else csv, infer_schema=False)
    return sum(map(Decimal, table["BilledCost"]), Decimal(0))


def test_charges_are_the_services_bill(
    tone_service: LocalService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Printed, as a file, and as a folder of uploads."""
    write_lines(tmp_path / "lines.parquet", 12)
    run_job(job_of(tmp_path, tone_service.url, options={"tags": {"team": "blue"}}))
    out = str(tmp_path / "out")
    assert main(["report", out, *FOCUS]) == 0
    printed = capsys.readouterr().out
    bill = tone_service.bill()["characters"] * Decimal("0.8") / 10_000
    assert _billed(printed) == bill > 0
    assert '{""team"":""blue""}' in printed
    for place in ("bill.csv", "bill.parquet", "uploads"):
        assert main(["report", out, *FOCUS, "--output", str(tmp_path / place)]) == 0
        assert "1 charge" in capsys.readouterr().err
    assert (tmp_path / "bill.csv").read_text() == (tmp_path / "uploads" / "focus-00001.csv").read_text() == printed
    assert pl.read_parquet(tmp_path / "bill.parquet")["BilledCost"].to_list() == [bill]


def test_requests_without_a_price_are_counted_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, beside the charges."""
    out = write_dataset(str(tmp_path / "out"), tmp_path, a_request(), a_request())
    assert main(["report", out, *FOCUS]) == 0
    output = capsys.readouterr()
    assert output.out.count("\n") == 1
    assert "2 requests without a known cost are left out" in output.err


def test_a_ledger_is_read_from_its_sums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A frozen month gives the same charges; a condition chooses some."""
    ledger, dataset = Ledger(open_store(tmp_path / "ledger")), open_store(tmp_path / "out")
    for number, team in enumerate(("radio", "books")):
        journal = journal_id(NOVEMBER, number)
        put_usage(dataset, number, journal, usage_rows(journal, NOVEMBER, rows=40, tags=[("team", team)]))
    ledger.sync_dataset(dataset, "/data/one")
    command = ["report", "--ledger", str(tmp_path / "ledger"), "--month", "2026-11", *FOCUS]
    command += ["--timezone", "Asia/Shanghai"]
    printed = []
    for _ in range(2):
        assert main(command) == 0
        printed.append(capsys.readouterr().out)
        ledger.compact("2026-11", "Asia/Shanghai", microseconds(datetime(2027, 1, 1, tzinfo=UTC)))
    assert printed[0] == printed[1]
    assert _billed(printed[0]) == 2 * 820 * COST
    assert ",2026-11-14T16:00:00Z," in printed[0]
    assert main([*command, "--where", "tag:team = 'radio'"]) == 0
    assert _billed(capsys.readouterr().out) == 820 * COST


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--by", "day"], "--by does not go with --format focus"),
        (["--where", "tag:tem = 'radio'"], "none of these requests has the tag 'tem'"),
        (["--timezone", "Asia/Shanghay"], "Did you mean 'Asia/Shanghai'"),
        (["--prices", "none.toml"], "none.toml"),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    """Before anything is written."""
    out = write_dataset(str(tmp_path / "out"), tmp_path, a_request(tags=[("team", "radio")]))
    assert main(["report", out, *FOCUS, "--output", str(tmp_path / "bill.csv"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "bill.csv").exists()
