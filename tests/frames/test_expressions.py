"""The Polars expressions: they say what the pure counters say."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tts_pipeline as tts
from tests.machine import patience
from tts_pipeline import text
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.expressions import billed_characters, estimate_cost, han_characters
from tts_pipeline.models import Price, Usage
from tts_pipeline.money import cost_of

HAN_RANGES = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
BOUNDARIES = [chr(place + step) for pair in HAN_RANGES for place in pair for step in (-1, 0, 1)]
SURROGATES = range(0xD800, 0xE000)
CHARACTERS = st.one_of(st.sampled_from([*BOUNDARIES, "a", " ", "\0"]), st.characters(exclude_categories=["Cs"]))
BILLINGS = ("han_double", "characters", "tokens")


def _counted(texts: list[str | None], billing: str = "han_double") -> list[int | None]:
    return (
        pl.Series("text", texts, dtype=pl.String)
        .to_frame()
        .select(billed_characters("text", billing))["text"]
        .to_list()
    )


@pytest.mark.parametrize("billing", BILLINGS)
@given(texts=st.lists(st.none() | st.text(CHARACTERS)))
@example(texts=[None])
@example(texts=["".join(BOUNDARIES), "", None])
def test_it_counts_what_the_pure_counter_counts(billing: str, texts: list[str | None]) -> None:
    """On every string of every plane; a null stays null."""
    expected = [None if line is None else text.billed_characters(line, billing) for line in texts]
    assert _counted(texts, billing) == expected


def test_every_code_point_counts_alike() -> None:
    """All of Unicode, one by one; Polars holds no lone surrogates."""
    points = [chr(point) for point in range(sys.maxunicode + 1) if point not in SURROGATES]
    assert _counted(points) == [text.billed_characters(point, "han_double") for point in points]  # type: ignore[arg-type]


def test_it_is_an_expression_like_any_other() -> None:
    """By name or by expression, under the column's name, lazily, streamed, grouped and over literals."""
    frame = pl.DataFrame({"text": ["Hello.", "你好。", None], "other": ["ab", "漢", "c"]})
    assert frame.lazy().select(tts.billed_characters("text")).collect(engine="streaming").to_dict(as_series=False) == {
        "text": [6, 5, None]
    }
    both = frame.select(billed_characters(pl.col("text") + pl.col("other")).alias("both"))
    assert both["both"].to_list() == [8, 7, None]
    assert both["both"].dtype == pl.UInt32
    assert frame.select(pl.col("other").pipe(billed_characters).sum()).item() == 5
    assert frame.group_by(pl.lit(1)).agg(billed_characters("text").sum())["text"].to_list() == [11]
    assert frame.select(billed_characters(pl.lit("汉字"))).item() == 4


def test_han_characters_of_ascii_are_null() -> None:
    """They are not even looked at."""
    frame = pl.DataFrame({"text": ["abc", "abç", "漢字ab", None]})
    assert frame.select(han_characters("text"))["text"].to_list() == [None, 0, 2, None]


FLASH = "qwen3-tts-flash"
DASHSCOPE = tts.load_catalog().service("dashscope")


def _priced(price: Price) -> tts.Catalog:
    return replace(tts.load_catalog(), prices={(DASHSCOPE.name, FLASH): (price,)})


@given(
    texts=st.lists(st.none() | st.text(CHARACTERS)),
    per_10k=st.decimals(min_value=0, max_value=1_000, places=9, allow_nan=False),
)
@example(texts=["a", "abc", "汉"], per_10k=Decimal("0.000005"))
def test_an_estimate_is_what_a_purchase_costs(texts: list[str | None], per_10k: Decimal) -> None:
    """To the last of 9 decimals, rounded alike; a null stays null."""
    price = Price("own", "CNY", "user", per_10k_characters=per_10k)
    frame = pl.Series("text", texts, dtype=pl.String).to_frame()
    costs = frame.select(estimate_cost("text", FLASH, catalog=_priced(price)))["text"]
    counted = [None if line is None else text.billed_characters(line, "han_double") for line in texts]
    assert costs.dtype == pl.Decimal(18, 9)
    assert costs.to_list() == [
        None if count is None else cost_of(price, characters=count, usage=Usage()) for count in counted
    ]


def test_the_price_is_the_makers_unless_a_service_is_named() -> None:
    """In a lazy frame, streamed, as well."""
    lines = pl.LazyFrame({"text": ["Good morning."]})
    for service in (None, DASHSCOPE):
        cost = lines.select(tts.estimate_cost(pl.col("text"), FLASH, service=service)).collect(engine="streaming")
        assert cost.item() == Decimal("0.00104")


def test_without_a_price_a_cost_is_null_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Never 0."""
    nobody = tts.Service(base_url="http://127.0.0.1:9", auth="none")
    with caplog.at_level(logging.WARNING, "tts_pipeline"):
        costs = pl.DataFrame({"text": ["a", None]}).select(estimate_cost("text", "some-model", service=nobody))
    assert costs["text"].to_list() == [None, None]
    assert "no price" in caplog.text


@pytest.mark.parametrize(("model", "message"), [("qwen-tts", "by the token"), ("nobody-tts", "no service")])
def test_a_model_that_a_text_alone_has_no_price_for_is_refused(model: str, message: str) -> None:
    """Says why, and what to do."""
    with pytest.raises(ConfigurationError, match=message):
        estimate_cost("text", model)


def test_a_run_does_without_polars() -> None:
    """Its threads would not survive a fork: what a run imports never imports it."""
    modules = "tts_pipeline.job, tts_pipeline.dataset.commit, tts_pipeline.client, tts_pipeline.cli.run"
    script = f"import sys, {modules}; print('polars' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=patience(60), check=True
    )
    assert result.stdout.strip() == "False"
