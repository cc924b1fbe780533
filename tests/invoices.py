"""Invoices of a running local service: its own bill, exported in the forms of two vendors."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tts_pipeline.emulator.local_service import LocalService

PER_10K = Decimal("0.8")
"""CNY for 10,000 characters, the list price of the flash models."""

SHANGHAI = ZoneInfo("Asia/Shanghai")

_ALIYUN = (
    "标识信息/账单明细ID",
    "身份信息/资源归属账号ID",
    "账单信息/账单月份",
    "账单信息/账单日期",
    "账单信息/费用类型",
    "产品信息/产品Code",
    "资源信息/实例ID（出账粒度）",
    "用量信息/抵扣前用量",
    "用量信息/用量单位",
    "应付信息/应付金额（含税）",
    "定价信息/定价币种",
)
_OPENAI = (
    "start_time",
    "end_time",
    "start_time_iso",
    "end_time_iso",
    "amount_value",
    "amount_currency",
    "line_item",
    "project_id",
    "organization_id",
    "organization_name",
)

ALIYUN_BY_REQUEST = """
extends = "aliyun"
level = "request"
[columns]
request_id = "请求ID"
"""
OPENAI_BY_REQUEST = """
extends = "openai"
level = "request"
[columns]
request_id = "request_id"
"""
"""Layouts of the same files with a column for the request: what a gateway's own export may have."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request, or those of a day, was charged; ``amount`` in ``currency``, ``fee`` in Alibaba Cloud's words."""

    request_id: str | None
    at: datetime
    model: str
    characters: int
    amount: Decimal
    currency: str = "CNY"
    account: str = "1001"
    fee: str = "云资源按量费用"


def charges(service: LocalService) -> list[Charge]:
    """Return what a service has charged, request by request."""
    return charges_of(service.bill(entries=True)["entries"])


def charges_of(entries: Iterable[Mapping[str, Any]], per_10k: Decimal = PER_10K) -> list[Charge]:
    """Return the charges among the entries of a bill, by character."""
    return [
        Charge(
            entry["request_id"],
            datetime.fromtimestamp(entry["received_at"], UTC),
            entry["model"],
            entry["characters"],
            per_10k * entry["characters"] / 10_000,
        )
        for entry in entries
        if entry["charged"]
    ]


def by_day(found: Iterable[Charge], zone: ZoneInfo) -> list[Charge]:
    """Add charges up by day of a zone, model, account and currency; each is at the first instant of its day."""
    days: dict[tuple[Any, ...], list[Charge]] = defaultdict(list)
    for charge in found:
        day = charge.at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        days[day, charge.model, charge.account, charge.currency, charge.fee].append(charge)
    return [
        Charge(
            None,
            day,
            model,
            sum(charge.characters for charge in group),
            sum((charge.amount for charge in group), Decimal(0)),
            currency,
            account,
            fee,
        )
        for (day, model, account, currency, fee), group in sorted(days.items())
    ]


def aliyun_invoice(found: Sequence[Charge]) -> bytes:
    """Return charges in the form of Alibaba Cloud's billing details; requests have a column of their own."""
    has_ids = any(charge.request_id is not None for charge in found)
    rows = [
        [
            str(number),
            charge.account,
            f"{charge.at.astimezone(SHANGHAI):%Y%m}",
            f"{charge.at.astimezone(SHANGHAI):%Y%m%d}",
            charge.fee,
            "sfm",
            f";llm-0a1b2c3d;{charge.model};tts;0",
            f"{Decimal(charge.characters) / 10_000:f}",
            "万字",
            f"{charge.amount:f}",
            charge.currency,
            *([charge.request_id or ""] if has_ids else []),
        ]
        for number, charge in enumerate(found, start=1)
    ]
    return _csv([*_ALIYUN, *(["请求ID"] if has_ids else [])], rows, "utf-8-sig")


def openai_invoice(found: Sequence[Charge]) -> bytes:
    """Return charges in the form of OpenAI's cost export; requests have a column of their own."""
    has_ids = any(charge.request_id is not None for charge in found)
    rows = []
    for charge in found:
        end = charge.at + (timedelta(seconds=1) if has_ids else timedelta(days=1))
        rows.append(
            [
                str(int(charge.at.timestamp())),
                str(int(end.timestamp())),
                charge.at.isoformat(),
                end.isoformat(),
                f"{charge.amount:.16f}",
                charge.currency.lower(),
                f"{charge.model}, audio output",
                charge.account,
                "org-1",
                "Personal",
                *([charge.request_id or ""] if has_ids else []),
            ]
        )
    return _csv([*_OPENAI, *(["request_id"] if has_ids else [])], rows, "utf-8")


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]], encoding: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


@dataclass(frozen=True, slots=True)
class InvoiceForm:
    """A form of invoices: the TOML of its layout, and how to write one."""

    name: str
    layout: str
    write: Callable[[Sequence[Charge]], bytes]
    zone: ZoneInfo | None = field(default=None)
    """Of the days that are added up; None writes every request."""

    def export(self, found: Sequence[Charge]) -> bytes:
        """Return the invoice of charges."""
        return self.write(found if self.zone is None else by_day(found, self.zone))


FORMS = (
    InvoiceForm("aliyun by request", ALIYUN_BY_REQUEST, aliyun_invoice),
    InvoiceForm("aliyun by day", 'extends = "aliyun"', aliyun_invoice, SHANGHAI),
    InvoiceForm("openai by request", OPENAI_BY_REQUEST, openai_invoice),
    InvoiceForm("openai by day", 'extends = "openai"', openai_invoice, ZoneInfo("UTC")),
)
"""Two vendors' forms, by request and by day."""
