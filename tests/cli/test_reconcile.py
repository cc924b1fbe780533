"""The command ``reconcile``: against a ledger, against datasets, and what it refuses."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import LOCAL, Command, MakeSource
from tests.invoices import SHANGHAI, aliyun_invoice, by_day, charges
from tts_pipeline.emulator.local_service import LocalService


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a ledger that is not there yet, which the environment names."""
    path = tmp_path / "ledger"
    monkeypatch.setenv("TTS_LEDGER", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def invoice(command: Command, make_source: MakeSource, local: LocalService, ledger: Path, tmp_path: Path) -> Path:
    """The invoice of a job whose dataset is ``tmp_path / "dataset"``, one line too many; its usage is in the ledger."""
    source, dataset = make_source(6), tmp_path / "dataset"
    assert command("run", source, dataset, *LOCAL, "--column", "voice=speaker").status == 0
    assert command("ledger", "add", dataset).status == 0
    path = tmp_path / "bill.csv"
    content = aliyun_invoice(by_day(charges(local), SHANGHAI))
    header, line = content.decode("utf-8-sig").splitlines()
    path.write_text(f"{header}\n{line}\n{line}\n", encoding="utf-8-sig")
    return path


def _flags(local: LocalService) -> tuple[str, ...]:
    return ("--layout", "aliyun", "--service", "local", "--service", local.url)


def test_it_prints_a_bridge_and_writes_the_differences(
    command: Command, invoice: Path, local: LocalService, tmp_path: Path
) -> None:
    """The bridge ends in the invoice's sum; status 3 says that something is unexplained."""
    result = command("reconcile", invoice, *_flags(local))
    assert result.status == 3
    lines = [re.split(r"  +", line.strip()) for line in result.out.splitlines()]
    assert [line[0] for line in lines[2:]] == ["CNY", "our confirmed sum", "unexplained", "charged twice", "invoice"]
    confirmed, unexplained, double, total = (line[1] for line in lines[3:])
    assert float(unexplained) == float(double) == float(confirmed) == float(total) / 2 > 0
    differences = pl.read_parquet(tmp_path / "differences.parquet")
    assert differences["kind"].to_list() == ["double"]
    assert "differences.parquet: 1 row" in result.err


def test_settling_makes_the_report_equal_the_invoice(command: Command, invoice: Path, local: LocalService) -> None:
    """To the last digit, and once: another time adds nothing."""
    flags = (*_flags(local), "--settle", "--json")
    first = command("reconcile", invoice, *flags)
    assert first.status == 0
    assert first.json["unexplained"] != {"CNY": "0.000000000"}
    assert (first.json["settled_rows"], first.json["differences"]) == (1, {"double": 1})
    again = command("reconcile", invoice, *flags)
    assert (again.status, again.json["settled_rows"], again.json["settlement"]) == (0, 0, None)
    assert [step["step"] for step in again.json["bridge"]] == ["confirmed", "invoice"]
    (amount,) = {step["amount"] for step in again.json["bridge"]}
    report = command("report", "--format", "json", "--by", "voice").json["report"]
    for figure in ("cost", "cost_upper_bound"):
        assert sum(Decimal(row[figure]) for row in report) == Decimal(amount)
    assert command("reconcile", invoice, *_flags(local)).status == 0


def test_datasets_are_compared_without_a_ledger(
    command: Command, invoice: Path, local: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The differences may be for a spreadsheet; a dataset is not settled."""
    monkeypatch.setenv("TTS_LEDGER", "none")
    output = tmp_path / "out.csv"
    result = command("reconcile", invoice, tmp_path / "dataset", *_flags(local), "--output", output)
    assert result.status == 3
    assert output.read_text(encoding="utf-8").startswith("kind,step,line,lines,request_id,")
    refused = command("reconcile", invoice, tmp_path / "dataset", *_flags(local), "--settle")
    assert refused.status == 2
    assert "--settle adds to a ledger" in refused.err
    assert "there is no ledger" in command("reconcile", invoice, *_flags(local)).err


def test_the_month_is_of_the_layouts_zone(command: Command, invoice: Path, local: LocalService) -> None:
    """An invoice of another month has no lines to compare."""
    result = command("reconcile", invoice, *_flags(local), "--month", "2020-01")
    assert result.status == 2
    assert "the invoice has no lines in this period" in result.err
    assert "'2026-13' is not a month" in command("reconcile", invoice, *_flags(local), "--month", "2026-13").err


def test_wrong_arguments_are_named(command: Command, ledger: Path, tmp_path: Path) -> None:
    """Before anything is read or written."""
    bill = tmp_path / "bill.csv"
    assert "the following arguments are required: --layout" in command("reconcile", bill).err
    assert "there is no layout 'aliyum'" in command("reconcile", bill, "--layout", "aliyum").err
    assert f"there is no file {bill}" in command("reconcile", bill, "--layout", "aliyun").err
    wrong = command("reconcile", bill, "--layout", "aliyun", "--output", "x.xlsx")
    assert "x.xlsx is neither .parquet nor .csv" in wrong.err
    bill.write_text("账单日期,金额\n", encoding="utf-8")
    broken = command("reconcile", bill, "--layout", "aliyun")
    assert (broken.status, list(tmp_path.iterdir())) == (2, [bill])
    assert "has no column '应付信息/应付金额（含税）'" in broken.err
