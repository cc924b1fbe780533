"""Invoice files, as they come: what they say, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.reconcile.charges import layout_of
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.reconcile import Layout, find_layout, read_invoice

HEADER = "id,time,model,account,quantity,amount,currency"
LINE = "r-1,2026-11-05 08:00:00,flash,main,195,0.0156,CNY"
PLAIN = layout_of()


def _read(text: str, layout: Layout = PLAIN, encoding: str = "utf-8") -> list[dict[str, object]]:
    return read_invoice(text.encode(encoding), layout, "i.csv").lines.to_dicts()


def _amounts(text: str, layout: Layout = PLAIN, encoding: str = "utf-8") -> list[object]:
    return [line["amount"] for line in _read(text, layout, encoding)]


def test_a_line_has_our_words_and_units() -> None:
    """The normal form is the same for every vendor."""
    assert _read(f"{HEADER}\n{LINE}\n") == [
        {
            "line": 2,
            "level": "request",
            "charge": "usage",
            "request_id": "r-1",
            "start": datetime(2026, 11, 5, 8, tzinfo=UTC),
            "end": datetime(2026, 11, 5, 8, 0, 0, 1, tzinfo=UTC),
            "model": "flash",
            "account": "main",
            "quantity_characters": 195,
            "quantity_tokens": None,
            "amount": Decimal("0.0156"),
            "currency": "CNY",
        }
    ]


def test_alibaba_clouds_export_is_read() -> None:
    """Both generations of its columns; days are of Shanghai, quantities in tens of thousands."""
    new = (
        "账单信息/账单月份,账单信息/账单日期,资源信息/实例ID（出账粒度）,身份信息/资源归属账号ID,用量信息/抵扣前用量,"
        "用量信息/用量单位,应付信息/应付金额（含税）,定价信息/定价币种,账单信息/费用类型\n"
        "202611,20261105,;llm-x;qwen3-tts-flash;tts;0,1001\t,0.0195,万字,0.00156,CNY,云资源按量费用\n"
        "202611,20261105,;llm-x;qwen-tts;tts_output_token;0,1001,1.5,千tokens,0.015,CNY,云资源按量费用\n"
        "202611,20261105,;llm-x;qwen-max;input_token;0,1001,9.9,千tokens,1.23,CNY,云资源按量费用\n"
        "202611,20261106,;llm-x;qwen3-tts-flash;tts;0,1001,0.01,万字,0,CNY,免费额度\n"
    )
    invoice = read_invoice(new.encode("utf-8-sig"), find_layout("aliyun"), "bill.csv")
    rows = invoice.lines.select(
        "model", "charge", "quantity_characters", "quantity_tokens", "amount", "account", "start"
    ).rows()
    at = datetime(2026, 11, 4, 16, tzinfo=UTC)
    assert rows[:2] == [
        ("qwen3-tts-flash", "usage", 195, None, Decimal("0.00156"), "1001", at),
        ("qwen-tts", "usage", None, 1500, Decimal("0.015"), "1001", at),
    ]
    assert rows[2][1:3] == ("credit", 100)
    assert invoice.notes == ["1 line of other products, 1.23, is not compared"]
    old = (
        "资源购买账号ID,资源归属账号ID,账单月份,账单日期,费用类型,产品Code,资产/资源实例ID,用量,用量单位,应付金额,定价币种\n"
        "1,1001,2026-11,2026-11-05,后付费,sfm,;llm-x;qwen3-tts-flash;tts;0,0.0195,万字,0.00156,人民币\n"
    )
    lines = read_invoice(old.encode("utf-8-sig"), find_layout("aliyun.toml"), "bill.csv").lines
    assert lines.select("model", "quantity_characters", "start", "currency").rows() == [
        ("qwen3-tts-flash", 195, at, "CNY")
    ]


def test_openais_export_is_read() -> None:
    """Days without cost are empty; amounts have digits that no bill of ours has, and their sum is kept."""
    text = (
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,"
        "organization_id,organization_name\n"
        "1793836800,1793923200,2026-11-05T00:00:00+00:00,2026-11-06T00:00:00+00:00,0.8958740000000004,usd,"
        '"gpt-4o-mini-tts, audio output",proj_1,org-1,Personal\n'
        "1793923200,1794009600,2026-11-06T00:00:00+00:00,2026-11-07T00:00:00+00:00,,,,,,\n"
        "1794009600,1794096000,2026-11-07T00:00:00+00:00,2026-11-08T00:00:00+00:00,0.0000000003,usd,tts-1,proj_1,,\n"
        "1794009600,1794096000,2026-11-07T00:00:00+00:00,2026-11-08T00:00:00+00:00,0.0000000003,usd,tts-1,proj_2,,\n"
    )
    lines = read_invoice(text.encode(), find_layout("openai"), "cost.csv").lines
    assert lines.select("line", "model", "charge", "amount", "currency").rows() == [
        (2, "gpt-4o-mini-tts", "usage", Decimal("0.895874000"), "USD"),
        (4, "tts-1", "usage", Decimal(0), "USD"),
        (5, "tts-1", "usage", Decimal(0), "USD"),
        (None, None, "rounding", Decimal("1e-9"), "USD"),
    ]
    assert lines["start"][0] == datetime(2026, 11, 5, tzinfo=UTC)
    assert lines["end"][0] == datetime(2026, 11, 6, tzinfo=UTC)


def test_other_products_are_not_compared() -> None:
    """An account of OpenAI may also chat; an export that is not grouped by line item has none to tell by."""
    head = "start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
    times = "2026-11-05T00:00:00+00:00,2026-11-06T00:00:00+00:00"
    items = ('"gpt-4o-mini-tts, audio output"', '"gpt-4o-2024-08-06, input"', "dall-e-3", "tts-1-hd", "")
    text = head + "".join(f"{times},{number}.5,usd,{item},proj_1\n" for number, item in enumerate(items))
    invoice = read_invoice(text.encode(), find_layout("openai"), "cost.csv")
    assert invoice.lines["model"].to_list() == ["gpt-4o-mini-tts", "tts-1-hd", None]
    assert invoice.notes == ["2 lines of other products, 4, are not compared"]


def test_lines_may_end_as_on_old_machines() -> None:
    """With a carriage return alone; the numbers of lines are the same."""
    lines = [HEADER, LINE, LINE]
    assert _read("\r".join(lines)) == _read("\n".join(lines))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings_are_the_layouts(encoding: str) -> None:
    """A byte order mark is no part of the first column's name."""
    layout = replace(PLAIN, encoding=encoding, models={"快": "flash"})
    assert _read(f"{HEADER}\n{LINE.replace('flash', '快')}\n", layout, encoding)[0]["model"] == "flash"
    if encoding != "utf-16":
        with_mark = "utf-8-sig" if encoding == "utf-8" else encoding
        assert _amounts(f"{HEADER}\n{LINE}\n", layout, with_mark) == [Decimal("0.0156")]


def test_what_is_no_charge_is_left_out() -> None:
    """Blank lines, a title, headers between joined files, and totals at the end."""
    text = f"Invoice of November\n\n{HEADER}\n{LINE}\n\n{HEADER}\n{LINE}\n,,,,,,\nTotal,,,,,0.0312,\n合计：,,,,,,\n"
    invoice = read_invoice(text.encode(), PLAIN, "i.csv")
    assert invoice.lines["line"].to_list() == [4, 7]
    assert invoice.notes == []


def test_a_total_that_is_another_is_told() -> None:
    """A line may be missing from the file."""
    invoice = read_invoice(f"{HEADER}\n{LINE}\nTotal,,,,,0.04,\n".encode(), PLAIN, "i.csv")
    assert invoice.notes == ["line 3 says 0.04 in total, but the lines add up to 0.0156: a line may be missing"]


def test_lines_are_those_of_the_file() -> None:
    """Also after a cell with a line break, and with the line ends of Windows."""
    text = f'{HEADER}\r\n"r\r\n0",2026-11-05,flash,main,1,0.01,CNY\r\n{LINE}\r\n'
    assert [line["line"] for line in _read(text)] == [2, 4]


def test_other_delimiters_and_marks() -> None:
    """As a German spreadsheet writes."""
    layout = replace(PLAIN, delimiter=";", decimal=",", thousands=".")
    text = f"{HEADER};{LINE}".replace(",", ";").replace(";r-1", "\nr-1").replace("0.0156", "1.234,56")
    assert _amounts(text, layout) == [Decimal("1234.56")]


def test_taxes_and_credits_are_part_of_the_amount() -> None:
    """A layout may name columns that are added and taken away."""
    layout = layout_of("[columns]\n".replace("[columns]\n", ""))
    layout = replace(layout, columns={**layout.columns, "tax": ("tax",), "credit": ("coupon",)})
    text = f"{HEADER},tax,coupon\n{LINE},0.0006,\n{LINE},,0.0100\n"
    assert _amounts(text, layout) == [Decimal("0.0162"), Decimal("0.0056")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.0156", "", "i.csv, line 3, column 'amount': is empty"),
        ("0.0156", "1,56", "i.csv, line 3: 8 cells, but the header has 7"),
        ("0.0156", '"1,56"', "i.csv, line 3, column 'amount': '1,56' is not a number"),
        ("195", "many", "i.csv, line 3, column 'quantity': 'many' is not a number"),
        ("2026-11-05 08:00:00", "5.11.2026", "i.csv, line 3, column 'time': '5.11.2026' is not a time"),
        ("2026-11-05 08:00:00", "", "i.csv, line 3, column 'time': is empty"),
        ("CNY", "yuan", "i.csv, line 3, column 'currency': 'yuan' is not a currency"),
        ("flash", '"flash', "i.csv, line 3: unexpected end of data"),
    ],
)
def test_a_mistake_is_named_by_line_and_column(old: str, new: str, message: str) -> None:
    """The line is that of the file, as an editor shows it."""
    with pytest.raises(ConfigurationError) as caught:
        _read(f"{HEADER}\n{LINE}\n{LINE.replace(old, new)}\n")
    assert caught.value.message == message
    assert caught.value.hint is not None or "empty" in message


def test_a_file_of_another_layout_is_refused() -> None:
    """With the nearest name that it has."""
    with pytest.raises(ConfigurationError, match=r"no column 'amount' \(Did you mean 'amounts'\?"):
        _read(f"{HEADER}\n{LINE}\n".replace("amount", "amounts"))
    with pytest.raises(ConfigurationError, match="line 1: no column 'quantity'"):
        _read(f"{HEADER}\n{LINE}\n".replace("quantity", "usage"))
    with pytest.raises(ConfigurationError, match="is empty"):
        _read("\n\n")
    with pytest.raises(ConfigurationError, match="ZIP archive or a spreadsheet"):
        read_invoice(b"PK\x03\x04...", PLAIN, "i.xlsx")
    with pytest.raises(ConfigurationError, match="line 3: the bytes are not utf-8-sig"):
        _read(f"{HEADER}\n{LINE}\n{LINE.replace('flash', '快')}", encoding="gb18030")


def test_a_unit_that_the_layout_does_not_know_is_refused() -> None:
    """A wrong factor would make every quantity wrong."""
    layout = find_layout("aliyun")
    header = "账单日期,账单月份,实例ID,资源归属账号ID,用量,用量单位,应付金额,币种"
    with pytest.raises(ConfigurationError, match="line 2, column '用量单位': '斤' is not a unit"):
        read_invoice(f"{header}\n20261105,202611,qwen-tts,1,1,斤,1,CNY\n".encode(), layout, "i.csv")
