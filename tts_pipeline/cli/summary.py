"""Format the summary of a run, as text for people or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tts_pipeline.card import Card, Endpoint
from tts_pipeline.catalog.entries import LOCAL
from tts_pipeline.catalog.prices import caveat
from tts_pipeline.cli.flags import with_flags
from tts_pipeline.cli.terminal import align_columns, truncate
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.dataset.totals import TOTALS_FIELDS, Totals
from tts_pipeline.job import Report
from tts_pipeline.money import price_at
from tts_pipeline.source.listing import describe_left_out
from tts_pipeline.storage.store import Store

MAX_CODES = 5
MAX_FILES = 200
"""The most files of rejects that are read, so that the summary does not take longer than the run."""

_MESSAGE_CHARACTERS = 300


@dataclass(slots=True)
class RejectCauses:
    """Rejects by error code, with an example message for each code."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


def read_reject_causes(store: Store) -> RejectCauses:
    """Read the rejects table of a dataset, part by part, and count the error codes."""
    causes = RejectCauses()
    dataset = DatasetReader(store)
    for table in dataset.read_files(dataset.files("rejects")[:MAX_FILES], ["error_code", "message"]):
        codes = [str(code) for code in table.column("error_code").to_pylist()]
        causes.counts.update(codes)
        for code, message in zip(codes, table.column("message").to_pylist(), strict=True):
            causes.examples.setdefault(code, truncate(str(message), _MESSAGE_CHARACTERS))
    return causes


def result_without_report(stopped_by: str, destination: str) -> dict[str, Any]:
    """Return the JSON of a run that ended before it could count: null is not known, which is not 0."""
    hidden = {"audio_ms", "characters_without_price"}
    counts = [name for name in TOTALS_FIELDS if name not in hidden] + ["audio_hours"]
    return {
        **dict.fromkeys(counts),
        "elapsed_s": None,
        "invocation_id": None,
        "destination": destination,
        "stopped_by": stopped_by,
        "this_run": dict.fromkeys(counts),
    }


def summary(report: Report, service: Endpoint, card: Card, causes: RejectCauses) -> str:
    """Return the summary of a run for people."""
    dataset, this_run = report.dataset, report.this_run
    lines = [
        (
            "rows",
            f"{dataset.rows:,}: {dataset.speech:,} speech, {_count(dataset.rejects, 'reject')}{_remaining(dataset)}",
        ),
        *([("left out", describe_left_out(report.left_out))] if report.left_out else []),
        *_reject_lines(dataset.rejects, causes),
        ("audio", format_duration(dataset.audio_ms)),
        ("requests", f"{dataset.attempts:,}{_unknown_outcomes(dataset)}"),
        ("characters", f"{dataset.characters_billed:,} billed{_at_most(dataset)}"),
        ("cost", _cost(dataset)),
        *_implausible_lines(dataset),
        *_reused_lines(report),
        ("this run", f"{_requests_of(this_run)} in {report.elapsed_s:,.1f} s"),
        *_price_lines(dataset, service, card),
        *(("note", note) for note in report.notes),
        ("files", f"{report.destination} (speech/, usage/, rejects/; a table without rows has no file)"),
    ]
    if report.stopped is not None:
        lines += [
            ("stopped", f"by: {report.stopped_by}"),
            ("next", "all bought audio is kept; fix the cause, then run the same command to continue"),
        ]
    return with_flags(align_columns(lines))


def _reject_lines(rejects: int, causes: RejectCauses) -> Iterator[tuple[str, str]]:
    for code, count in causes.counts.most_common(MAX_CODES):
        yield "", f"{count:,} x {code}, for example: {causes.examples[code]}"
    rest = len(causes.counts) - MAX_CODES
    if rest > 0:
        yield "", f"and {_count(rest, 'other code')}"
    if rejects > causes.counts.total():
        yield "", f"{rejects - causes.counts.total():,} more, in parts that are still open or were not read"


def _reused_lines(report: Report) -> Iterator[tuple[str, str]]:
    if report.dataset.reused:
        yield "reused", f"{_count(report.dataset.reused, 'row')} whose audio was not bought again"
    for origin, count in sorted(report.reused_from.items()):
        yield "", f"{count:,} in this run " + (f"from {origin}" if origin else "equal to others of this job")


def _price_lines(totals: Totals, service: Endpoint, card: Card) -> Iterator[tuple[str, str]]:
    price = price_at(card.prices, datetime.now(UTC))
    warning = caveat(service, card, price)
    if warning is not None:
        yield "price", warning
    elif totals.attempts and totals.cost is None:
        yield "price", "the cost is not known, which is not 0: no usage was reported"
    elif price is not None and price.basis == "list" and service.name == LOCAL:
        yield "price", "nobody charges for the local service: the cost is at the maker's list price, for comparison"


def _implausible_lines(totals: Totals) -> Iterator[tuple[str, str]]:
    if totals.implausible_attempts:
        cost = totals.cost_in_question
        amount = "" if cost is None else f"{cost:,.4f} {totals.currency}"
        yield "", implausible_note(totals.implausible_attempts, amount)


def implausible_note(requests: int, amount: str) -> str:
    """Say that usage was reported which cannot be true, and how much money that is about; "" is none."""
    about = f": {amount} are in question" if amount else ""
    return f"{_count(requests, 'request')} with a reported usage that cannot be true{about} (implausible in usage/)"


def _remaining(totals: Totals) -> str:
    remaining = totals.rows - totals.speech - totals.rejects
    return f", {remaining:,} not done yet" if remaining else ""


def _unknown_outcomes(totals: Totals) -> str:
    return f", {totals.unknown_attempts:,} of them with an unknown outcome" if totals.unknown_attempts else ""


def _requests_of(totals: Totals) -> str:
    characters = _count(totals.characters_billed, "character")
    return f"{_count(totals.attempts, 'request')}, {characters} billed{_at_most(totals)}"


def _at_most(totals: Totals) -> str:
    is_uncertain = totals.characters_upper_bound != totals.characters_billed
    return f" (at most {totals.characters_upper_bound:,})" if is_uncertain else ""


def _cost(totals: Totals) -> str:
    if not totals.attempts and not totals.characters_upper_bound:
        return "nothing"
    confirmed = "not known" if totals.cost is None else f"{totals.cost:,.4f} {totals.currency}"
    at_most = totals.cost_upper_bound
    bound = "" if at_most is None or at_most == totals.cost else f" (at most {at_most:,.4f})"
    unpriced = 0 if totals.cost is None else totals.characters_without_price
    return f"{confirmed}{bound}" + (f", beside {_count(unpriced, 'character')} without a price" if unpriced else "")


def format_duration(audio_ms: int) -> str:
    """Format the length of audio, in minutes or hours."""
    minutes = audio_ms / 60_000
    return f"{minutes:,.1f} minutes" if minutes < 60 else f"{minutes / 60:,.2f} hours"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
