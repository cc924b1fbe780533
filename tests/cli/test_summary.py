"""The summary: every figure a person needs, and no false zero."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tts_pipeline.card import Card
from tts_pipeline.catalog import Service, load_catalog
from tts_pipeline.cli.summary import RejectCauses, result_without_report, summary
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StoppedError
from tts_pipeline.job import Report
from tts_pipeline.money import Cost

CATALOG = load_catalog()
CARDS = CATALOG.cards


def _report(*, cost: str | None = "0.118", at_most: str | None = "0.118", **counts: int) -> Report:
    totals = Totals(
        rows=10, speech=10, attempts=11, characters_billed=1_482, characters_upper_bound=1_482, audio_ms=90_000
    )
    for name, count in counts.items():
        setattr(totals, name, count)
    if cost is not None and at_most is not None:
        totals.add(Cost(cost=Decimal(cost), cost_upper_bound=Decimal(at_most), currency="CNY"))
    return Report(totals, Totals(), 1.5, "invocation", "/data/out")


def _summary(report: Report, card: Card = CARDS["local", "qwen3-tts-flash"], causes: RejectCauses | None = None) -> str:
    service = CATALOG.services.get(card.service) or Service(base_url="https://studio.example", name=card.service)
    return summary(report, service, card, causes or RejectCauses())


def test_a_run_that_went_well_is_told_in_figures() -> None:
    """Rows, audio, requests, characters, cost, and where the files are."""
    summary = _summary(_report())
    for figure in ("10: 10 speech, 0 rejects", "1.5 minutes", "1,482 billed\n", "0.1180 CNY\n", "/data/out (speech/"):
        assert figure in summary
    assert "stopped" not in summary


def test_what_is_not_sure_is_told_as_a_range() -> None:
    """Unknown attempts, characters and money at most."""
    report = _report(at_most="0.2", unknown_attempts=2, characters_upper_bound=2_000)
    summary = _summary(report)
    assert "11, 2 of them with an unknown outcome" in summary
    assert "1,482 billed (at most 2,000)" in summary
    assert "0.1180 CNY (at most 0.2000)" in summary


def test_rejects_are_told_by_their_causes() -> None:
    """The most frequent codes with a message each; what was not read is counted too."""
    causes = RejectCauses()
    for number in range(7):
        causes.counts[f"Code{number}"] = 7 - number
        causes.examples[f"Code{number}"] = f"message {number}"
    summary = _summary(_report(rows=40, speech=10, rejects=30), causes=causes)
    assert "7 x Code0, for example: message 0" in summary
    assert "Code5" not in summary
    assert "and 2 other codes" in summary
    assert "2 more, in parts that are still open" in summary


def test_a_stopped_run_says_what_to_do() -> None:
    """By what it was stopped, that nothing is lost, and how it goes on."""
    stopped = StoppedError("the service is out", stopped_by="outage", hint="run again later")
    summary = _summary(replace(_report(speech=4), stopped=stopped))
    assert "6 not done yet" in summary
    assert "by: outage" in summary
    assert "run the same command to continue" in summary


@pytest.mark.parametrize(
    ("service", "model", "message"),
    [
        ("modelstream", "qwen3-tts-flash", "modelstream may charge otherwise"),
        ("local", "qwen3-tts-flash", "nobody charges for the local service"),
        ("dashscope", "qwen3-tts-flash", None),
        ("openai", "tts-1", None),
    ],
)
def test_a_list_price_is_named_where_it_may_not_hold(service: str, model: str, message: str | None) -> None:
    """A gateway may charge otherwise than the maker; the maker itself does not."""
    summary = _summary(_report(), CARDS[service, model])
    assert (message in summary) if message else ("list price" not in summary)


def test_a_cost_that_is_not_known_is_not_0() -> None:
    """Without a price there is no amount, and the summary says why."""
    summary = _summary(_report(cost=None), Card("studio", "narrator"))
    assert "cost        not known" in summary
    assert "no price is known for narrator on studio: its cost is null, which is not 0" in summary


def test_a_result_without_counts_has_the_same_keys() -> None:
    """What reads the JSON finds every key; null is not known."""
    result, bare_result = _report().to_json(), result_without_report("storage", "/data/out")
    assert list(result) == list(bare_result)
    assert list(result["this_run"]) == list(bare_result["this_run"])
    assert (bare_result["rows"], bare_result["stopped_by"]) == (None, "storage")


def test_what_was_not_bought_is_told_with_where_it_came_from() -> None:
    """Rows of all runs, and in this one by place; without any there is no line."""
    assert "reused" not in _summary(_report())
    summary = _summary(replace(_report(reused=1_234), reused_from={"../pilot": 1_000, "": 34}))
    assert "1,234 rows whose audio was not bought again" in summary
    assert "1,000 in this run from ../pilot" in summary
    assert "34 in this run equal to others of this job" in summary
