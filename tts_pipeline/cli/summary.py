"""What a run did, told to people and to programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from tts_pipeline.catalog.entries import LOCAL
from tts_pipeline.catalog.prices import caveat
from tts_pipeline.cli.terminal import columns
from tts_pipeline.cost import price_at
from tts_pipeline.dataset.source_files import left_out_text
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.tables import own_columns, read_columns
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.job import Report
from tts_pipeline.models import Card, Service
from tts_pipeline.schema import REJECTS

MAX_CODES = 5
MAX_FILES = 200
"""Parts whose rejects are looked at, at most: the summary is not to take longer than the run."""

_MESSAGE_CHARACTERS = 300


@dataclass(slots=True)
class Causes:
    """Why utterances were rejected.

    Args:
        counts: Rejects by error code.
        examples: A message for each code.
        seen: Rejects that were looked at.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    seen: int = 0


def causes_of(store: Store) -> Causes:
    """Read the rejects table of a dataset, part by part, for what happened most often."""
    causes = Causes()
    for name in store.names("rejects", "part-")[:MAX_FILES]:
        data = store.read(f"rejects/{name}")
        if data is None:
            continue
        location, names = store.describe(f"rejects/{name}"), ("error_code", "message")
        with storage_errors(f"reading {location}", Exception):
            table = own_columns(read_columns(data, names), names, REJECTS, location)
        codes = [str(code) for code in table.column("error_code").to_pylist()]
        causes.counts.update(codes)
        causes.seen += len(codes)
        for code, message in zip(codes, table.column("message").to_pylist(), strict=True):
            causes.examples.setdefault(code, _cut(str(message)))
    return causes


def result_without_report(stopped_by: str, destination: str) -> dict[str, Any]:
    """Return what ``--json`` prints when a run ended before it could count: null is not known, which is not 0."""
    hidden = {"audio_ms", "characters_without_price"}
    counts = [each.name for each in fields(Totals) if each.name not in hidden] + ["audio_hours"]
    return {
        **dict.fromkeys(counts),
        "elapsed_s": None,
        "invocation_id": None,
        "destination": destination,
        "stopped_by": stopped_by,
        "this_run": dict.fromkeys(counts),
    }


def summary(report: Report, service: Service, card: Card, causes: Causes) -> str:
    """Return the summary for people.

    Args:
        report: Of the run.
        service: Of the job.
        card: Of the model.
        causes: Of the rejects.
    """
    dataset, this_run = report.dataset, report.this_run
    lines = [
        ("rows", f"{dataset.rows:,}: {dataset.speech:,} speech, {_count(dataset.rejects, 'reject')}{_left(dataset)}"),
        *([("left out", left_out_text(report.left_out))] if report.left_out else []),
        *_reject_lines(dataset.rejects, causes),
        ("audio", duration_told(dataset.audio_ms)),
        ("requests", f"{dataset.attempts:,}{_unknown(dataset)}"),
        ("characters", f"{dataset.characters_billed:,} billed{_at_most(dataset)}"),
        ("cost", _cost(dataset)),
        *_implausible_lines(dataset),
        *_reused_lines(report),
        ("this run", f"{_requests_of(this_run)} in {report.elapsed_s:,.1f} s"),
        *_price_lines(dataset, service, card),
        ("files", f"{report.destination} (speech/, usage/, rejects/; a table without rows has no file)"),
    ]
    if report.stopped is not None:
        lines += [
            ("stopped", f"by: {report.stopped_by}"),
            ("next", "everything done so far is kept; when the cause is mended, the same command goes on"),
        ]
    return columns(lines)


def _reject_lines(rejects: int, causes: Causes) -> Iterator[tuple[str, str]]:
    for code, count in causes.counts.most_common(MAX_CODES):
        yield "", f"{count:,} x {code}, for example: {causes.examples[code]}"
    rest = len(causes.counts) - MAX_CODES
    if rest > 0:
        yield "", f"and {_count(rest, 'other code')}"
    if rejects > causes.seen:
        yield "", f"{rejects - causes.seen:,} more, in parts that are still open or were not looked at"


def _reused_lines(report: Report) -> Iterator[tuple[str, str]]:
    if report.dataset.reused:
        yield "reused", f"{_count(report.dataset.reused, 'row')} whose audio was not bought again"
    for place, count in sorted(report.reused_from.items()):
        yield "", f"{count:,} in this run " + (f"from {place}" if place else "equal to others of this job")


def _price_lines(totals: Totals, service: Service, card: Card) -> Iterator[tuple[str, str]]:
    price = price_at(card.prices, datetime.now(UTC).date())
    said = caveat(service, card, price)
    if said is not None:
        yield "price", said
    elif totals.attempts and totals.cost is None:
        yield "price", "the cost is not known, which is not 0: no usage was reported"
    elif price is not None and price.basis == "list" and service.name == LOCAL:
        yield "price", "nobody charges for the local service: the cost is at the maker's list price, for comparison"


def _implausible_lines(totals: Totals) -> Iterator[tuple[str, str]]:
    if totals.implausible_attempts:
        requests = _count(totals.implausible_attempts, "request")
        in_question = totals.cost_in_question
        amount = "" if in_question is None else f": {in_question:,.4f} {totals.currency} are in question"
        yield "", f"{requests} with a reported usage that cannot be true{amount} (implausible in usage/)"


def _left(totals: Totals) -> str:
    left = totals.rows - totals.speech - totals.rejects
    return f", {left:,} not done yet" if left else ""


def _unknown(totals: Totals) -> str:
    return f", {totals.unknown_attempts:,} of them with an unknown outcome" if totals.unknown_attempts else ""


def _requests_of(totals: Totals) -> str:
    characters = _count(totals.characters_billed, "character")
    return f"{_count(totals.attempts, 'request')}, {characters} billed{_at_most(totals)}"


def _at_most(totals: Totals) -> str:
    unsure = totals.characters_upper_bound != totals.characters_billed
    return f" (at most {totals.characters_upper_bound:,})" if unsure else ""


def _cost(totals: Totals) -> str:
    if not totals.attempts and not totals.characters_upper_bound:
        return "nothing"
    confirmed = "not known" if totals.cost is None else f"{totals.cost:,.4f} {totals.currency}"
    at_most = totals.cost_upper_bound
    possible = "" if at_most is None or at_most == totals.cost else f" (at most {at_most:,.4f})"
    without = 0 if totals.cost is None else totals.characters_without_price
    return f"{confirmed}{possible}" + (f", beside {_count(without, 'character')} without a price" if without else "")


def duration_told(audio_ms: int) -> str:
    """Return how long audio is, in minutes or hours."""
    minutes = audio_ms / 60_000
    return f"{minutes:,.1f} minutes" if minutes < 60 else f"{minutes / 60:,.2f} hours"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]}..."
