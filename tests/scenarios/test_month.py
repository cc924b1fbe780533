"""A month closes: what the ledger says is what the services charged, to the last digit, for each team and account."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from tests.invoices import FORMS, InvoiceForm
from tests.scenarios.month import SHANGHAI, Company, next_month, play
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.options import EmulatorOptions
from tts_pipeline.ledger import Ledger, find_ledger
from tts_pipeline.ledger.scan import scan_ledger


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A company whose month is over."""
    with ExitStack() as stack:
        services = {
            name: stack.enter_context(
                LocalService(EmulatorOptions(voice_mode="tone", tone_bytes=1_000, required_key=f"the key of {name}"))
            )
            for name in ("north", "south")
        }
        company = Company(tmp_path_factory.mktemp("company"), services, next_month(datetime.now(UTC)))
        play(company)
        shutil.rmtree(company.folder / "datasets" / "gone")
        yield company


def _month(company: Company) -> pl.DataFrame:
    location = find_ledger(str(company.ledger))
    assert location is not None
    since_us, until_us = (round(at.timestamp() * 1e6) for at in (company.start, company.end))
    return scan_ledger(Ledger.open(location).contents(since_us, until_us)).collect()


@pytest.mark.slow
def test_the_ledger_is_never_short(company: Company) -> None:
    """By account: what is confirmed was charged, and what was charged is possible."""
    rows = _month(company)
    for account in company.services:
        own = rows.filter(pl.col("account") == account)
        charged = sum(entry["characters"] for entry in company.charged(account) if not entry["input_tokens"])
        by_character = own.filter(pl.col("model") != "qwen-tts")
        billed, at_most = (int(by_character[f"characters_{name}"].sum()) for name in ("billed", "upper_bound"))
        print(account, billed, charged, at_most)
        assert billed <= charged <= at_most
    assert json.loads(company.tts("ledger", "status", "--json"))
    assert rows["cost"].dtype == pl.Decimal(18, 9)
    assert Decimal(0) < rows["cost"].sum()


SETTLED_BY = {"north": "aliyun by request", "south": "aliyun by day"}


def _reconcile(company: Company, account: str, form: InvoiceForm, *flags: str) -> pl.DataFrame:
    """Compare the month with an account's invoice in a form; return the differences. Nothing is unexplained."""
    name = f"{account} {form.name}"
    invoice, layout = company.folder / f"{name}.csv", company.folder / f"{name}.toml"
    zone = ZoneInfo("UTC") if form.name.startswith("openai") else SHANGHAI  # whose month it is
    invoice.write_bytes(form.export(company.charges(account, zone)))
    layout.write_text(f"{form.layout}\n")
    output = company.folder / f"{name}.parquet"
    files = (str(invoice), "--layout", str(layout), "--output", str(output))
    company.tts("reconcile", *files, "--month", f"{company.start:%Y-%m}", "--service", account, *flags)  # exit 0
    return pl.read_parquet(output)


@pytest.mark.slow
def test_the_month_closes(company: Company) -> None:
    """Every difference to the invoices is named; settled, the report is the invoices, to the last digit."""
    month = f"{company.start:%Y-%m}"
    forms = {form.name: form for form in FORMS}
    for account, name in SETTLED_BY.items():
        for form in FORMS:
            kinds = set(_reconcile(company, account, form)["kind"])
            assert kinds <= {"matched", "settled", "wrong_day"}, (account, form.name)
        _reconcile(company, account, forms[name], "--settle")
        assert _reconcile(company, account, forms[name]).filter(pl.col("difference") != 0).is_empty()
    invoiced = {
        account: sum((charge.amount for charge in company.charges(account)), Decimal(0)) for account in SETTLED_BY
    }
    by = ("--by", "account", "--by", "tag:team", "--timezone", "Asia/Shanghai")
    rows = json.loads(company.tts("report", "--month", month, *by, "--format", "json"))["report"]
    for account, amount in invoiced.items():
        own = [row for row in rows if row["account"] == account]
        for name in ("cost", "cost_upper_bound"):
            assert sum(Decimal(row[name]) for row in own) == amount
    assert {row["tag:team"] for row in rows} == {"radio", "books", "ads", None}
