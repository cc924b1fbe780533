"""Layouts: those that come with the package, a user's own, and their mistakes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.reconcile.charges import LAYOUT
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.reconcile import built_in_layouts, find_layout, parse_layout
from tts_pipeline.reconcile.layout import Unit


def test_the_built_in_layouts_are_valid_and_say_where_they_are_from() -> None:
    """Each fact of a vendor has its source and the date when it was read."""
    assert built_in_layouts() == ["aliyun", "openai"]
    for name in built_in_layouts():
        layout = find_layout(f"{name}.toml")
        assert layout.level == "day"
        assert layout.services
        path = Path("tts_pipeline/reconcile/layouts") / f"{name}.toml"
        content = (Path(__file__).parents[2] / path).read_text(encoding="utf-8")
        assert "https://" in content
        assert "Read 2026-" in content


def test_a_layout_extends_another(tmp_path: Path) -> None:
    """It says only what differs; tables are merged, everything else is replaced."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "aliyun"\nlevel = "month"\nservices = []\n[accounts]\n1001 = "main"\n[units]\n'
        '"百字" = "100 characters"\n[tolerance]\nshare = 0.001\n[columns]\nrequest_id = ["RequestId", "请求ID"]\n',
        encoding="utf-8",
    )
    layout, base = find_layout(str(path)), find_layout("aliyun")
    assert (layout.name, layout.level, layout.services, layout.timezone) == ("mine", "month", (), "Asia/Shanghai")
    assert layout.columns == {**base.columns, "request_id": ("RequestId", "请求ID")}
    assert layout.units == {**base.units, "百字": Unit(100, "characters")}
    assert layout.accounts == {"1001": "main"}
    assert (layout.tolerance.money, layout.tolerance.share) == (Decimal("0.000001"), Decimal("0.001"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("levels = 1", "levels is not a known key"),
        ('level = "week"', "level must be one of 'request', 'day', 'month'"),
        ('timezone = "Asia/Shangai"', "timezone is not a time zone"),
        ('encoding = "gb18031"', "encoding is not an encoding"),
        ('delimiter = ";;"', "delimiter must be one character"),
        ('decimal = "1"', "decimal must be an ASCII sign"),
        ('decimal = ","', "thousands is the decimal mark, too"),
        ('unit = "10 words"', "unit is not a unit"),
        ('unit = "0 characters"', "unit is not a unit"),
        ('model_pattern = "("', "model_pattern is not a regular expression"),
        ('model_pattern = "tts"', "model_pattern has no group"),
        ('extends = "alyun"', "extends must be one of 'aliyun', 'openai'"),
        ('[columns]\namounts = "x"', "columns.amounts is not a known key"),
        ("[columns]\namount = 3", "columns.amount must be a string"),
        ("[rows]\nkept = {}", "rows.kept is not a known key"),
        ('[rows.keep]\nx = "("', "rows.keep.x is not a regular expression"),
        ("[tolerance]\nmoney = -1", "tolerance.money must not be negative"),
        ("[tolerance]\nmonye = 1", "tolerance.monye is not a known key"),
    ],
)
def test_a_mistake_names_file_and_key(more: str, message: str) -> None:
    """A layout is read once and used for years."""
    top, _, columns = LAYOUT.partition("[columns]")
    key = more.partition(" = ")[0]
    kept = "".join(line for line in top.splitlines(keepends=True) if line.partition(" = ")[0] != key)
    if more.startswith("[columns]"):
        content = f"{kept}{more}"
    elif more.startswith("["):
        content = f"{kept}[columns]{columns}{more}"
    else:
        content = f"{more}\n{kept}[columns]{columns}"
    with pytest.raises(ConfigurationError) as caught:
        parse_layout(content, "my.toml")
    assert caught.value.message.startswith(f"my.toml: {message}")


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("amount", "columns.amount is missing"),
        ("time", "columns has no time, day or month"),
        ("request_id", "columns.request_id is missing"),
        ("level", "level is missing"),
    ],
)
def test_what_a_layout_must_say(without: str, message: str) -> None:
    """Everything else has a default."""
    content = "\n".join(line for line in LAYOUT.splitlines() if line.partition(" = ")[0] != without)
    with pytest.raises(ConfigurationError) as caught:
        parse_layout(content, "my.toml")
    assert message in caught.value.message


def test_a_currency_is_a_fact_or_a_column() -> None:
    """An amount without a currency is no amount."""
    content = "\n".join(line for line in LAYOUT.splitlines() if not line.startswith("currency"))
    with pytest.raises(ConfigurationError, match="currency is missing"):
        parse_layout(content, "my.toml")


def test_an_unknown_layout_names_the_known_ones() -> None:
    """And the nearest."""
    with pytest.raises(
        ConfigurationError, match=r"no layout 'aliyum.toml' \(Did you mean 'aliyun'\? Known: aliyun, openai"
    ):
        find_layout("aliyum.toml")
