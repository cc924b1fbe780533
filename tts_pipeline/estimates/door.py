"""The door: rows and a job go in, the estimate comes out; nothing is sent, and nothing at the destination changes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from tts_pipeline.catalog import Catalog
from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, Selection
from tts_pipeline.cost import price_at
from tts_pipeline.dataset.descriptor import NAME as DESCRIPTOR
from tts_pipeline.dataset.descriptor import read_descriptor
from tts_pipeline.dataset.dropping import check_drop
from tts_pipeline.dataset.reuse import CacheLocation, CacheTier, find_cache
from tts_pipeline.dataset.rows import hugging_face_note, passed_through, require_columns
from tts_pipeline.dataset.spending import spent
from tts_pipeline.dataset.streamed import stored
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.estimates.figures import WAV_BYTES_PER_SECOND, Estimate
from tts_pipeline.estimates.holdings import Holdings, own_shelves, shelves_of
from tts_pipeline.estimates.measured import Latency, measured_in
from tts_pipeline.estimates.parameters import Sending, check_sending
from tts_pipeline.estimates.purchases import Purchases
from tts_pipeline.estimates.remaining import RemainingLines
from tts_pipeline.estimates.repeats import Repeats
from tts_pipeline.estimates.rows import Lines, Rows, StoredLines, lines_of
from tts_pipeline.estimates.tally import Counts, tally
from tts_pipeline.estimates.terms import cost_at, notes_on, notes_on_caps, pace_of, purchases_at_most
from tts_pipeline.job import Job, Running
from tts_pipeline.job.prepared import Prepared, prepare
from tts_pipeline.models import ParameterValue, Service


def estimate(  # noqa: PLR0913 (a public door: what every job has, by name)
    rows: Rows,
    service: Service,
    *,
    model: str,
    destination: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | InputColumns | None = None,
    limits: Limits | None = None,
    running: Running | None = None,
    audio: AudioSettings | None = None,
    selection: Selection | None = None,
    catalog: Catalog | None = None,
    unchecked: Sequence[str] = (),
    latency_s: float | None = None,
    hive: bool = InputColumns().hive,
    drop: Sequence[str] = (),
    **parameters: ParameterValue,
) -> Estimate:
    """Estimate what speech for all rows would come to; nothing is sent.

    10,000,000 rows take seconds, in flat memory. ::

        import polars as pl
        import tts_pipeline as tts

        lines = pl.DataFrame({"text": ["Good morning.", "早上好。", "Good morning."]})
        baze = tts.load_catalog().service("baze")
        told = tts.estimate(lines, baze, model="qwen3-tts-instruct-flash", voice="Cherry")
        print(told.segments, told.characters_billed, told.cost, told.currency)  # 2 20 0.001600000 CNY

    Args:
        rows: A Polars DataFrame or LazyFrame; anything with ``__arrow_c_stream__``, which is taken into memory whole;
            or a Parquet file, a folder of them, a glob or an fsspec URL. A lazy frame is run twice where columns carry
            parameters.
        service: Needs no key: ``load_catalog().service(name)`` has none, ``Service.named`` looks for one.
        model: As sent.
        destination: The dataset that the rows are for: rows that it has are not bought again. It is read, and never
            written. None is a new dataset; only then ids are not looked at.
        columns: Voice parameter -> column that carries it row by row; ``InputColumns`` names the column of the texts
            too, which is ``text`` otherwise.
        limits: The rates to reckon with, in place of those of ``running``; None is the service's own, where known.
        running: How the job would be run: reuse, retakes, rejects that are tried anew, a rebuild, a cap.
        audio: The dataset's audio, which decides what can be reused; None is as received.
        selection: Which rows are taken; None is all.
        catalog: Services, cards and prices; None is the built-in ones.
        latency_s: Mean time from a request to its answer; None is what the destination and the datasets of
            ``running.reuse`` measured, if they did.
        unchecked: Parameters whose names and values are not held against the card's lists, nor against our own names.
        hive: Whether folders of the source such as ``speaker=Cherry`` are columns.
        drop: Columns of the source that are not read at all.
        **parameters: Voice parameters that are the same for all rows (``voice="Cherry"``).

    Raises:
        ConfigurationError: Something is wrong with the rows or the parameters, as it would be for a run.
        StorageError: A source or the destination cannot be read.
    """
    named = columns if isinstance(columns, InputColumns) else InputColumns(parameters=columns or {})
    named = replace(named, hive=named.hive and hive, drop=[*named.drop, *drop])
    running = running or Running()
    job = Job(
        source=rows if isinstance(rows, str | os.PathLike) else "",
        destination=destination or "",
        service=service,
        model=model,
        parameters=parameters,
        columns=named if destination else replace(named, generate_ids=True),
        selection=selection or Selection(),
        audio=audio or AudioSettings(),
        catalog=catalog,
        unchecked=tuple(unchecked),
        running=running if limits is None else replace(running, limits=limits),
    )
    if destination and not isinstance(rows, str | os.PathLike):
        # As a run does: a destination knows its source by its files.
        with stored(rows, running.work_dir, named.drop) as file:
            return estimate_rows(file, replace(job, source=file), latency_s=latency_s)
    return estimate_rows(rows, job, latency_s=latency_s)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The rows of an estimate, and what is known beside them.

    Args:
        lines: The rows that are left to do.
        sending: Their parameters.
        shelves: Where audio may be that need not be bought.
        places: Datasets of earlier runs, the job's own first.
        spent: By earlier runs of the job, at most.
        note: What there is to know of the columns of a new dataset; None is nothing.
    """

    lines: Lines
    sending: Sending
    shelves: Sequence[CacheTier]
    places: Sequence[CacheLocation]
    spent: Totals = field(default_factory=Totals)
    note: str | None = None


def estimate_rows(rows: Rows, job: Job, *, latency_s: float | None = None, today: date | None = None) -> Estimate:
    """Estimate what a job comes to for rows; see ``estimate``.

    Args:
        rows: As in ``estimate``; with a destination, the job's source.
        job: The job; its service needs no key, and a destination of "" is none.
        latency_s: As in ``estimate``.
        today: Chooses the price; None is today, in UTC.
    """
    scope = _in_place(job) if os.fspath(job.destination) else _anew(rows, job)
    purchases = Purchases(
        scope.sending,
        Holdings(scope.shelves, job.running.quality, job.service, job.card()),
        keeps_unspeakable=job.running.unspeakable == "keep",
    )
    measured = measured_in(scope.places, job)
    if latency_s is not None:
        measured = replace(measured, latency=Latency(latency_s))
    with Repeats(job.running.work_dir) as repeats:
        counts = tally(scope.lines, job.columns.text, purchases, repeats, measured.paces)
    made = _estimate(counts, job, measured.latency, scope.spent, today or datetime.now(UTC).date())
    notes = made.notes if scope.note is None else (*made.notes, scope.note)
    return replace(made, left_out=scope.lines.left_out, notes=notes)


def _in_place(job: Job) -> _Scope:
    """Look at a job's destination: what is there is neither bought nor made again."""
    prepared = prepare(job, sends=False)
    source = StoredLines(prepared.source, prepared.places)
    sending = check_sending(source, prepared.card, job.parameters, job.columns.parameters, job.unchecked)
    shelves = shelves_of(prepared.reusable, job.audio)
    places = [place for place in prepared.reusable if isinstance(place, CacheLocation)]
    descriptor = read_descriptor(prepared.store)
    if descriptor is None:
        note = hugging_face_note(prepared.voicing.layout.passed_through)
        return _Scope(source, sending, shelves, places, _spent(prepared), note)
    own = CacheLocation(prepared.store, prepared.home.root, descriptor, is_new=False)
    return _Scope(
        lines=RemainingLines(prepared),
        sending=sending,
        shelves=[*own_shelves(prepared), *shelves],
        places=[own, *places],
        spent=_spent(prepared),
    )


def _spent(prepared: Prepared) -> Totals:
    """Add up what earlier runs spent, where there is a cap: that of a dataset that is made anew counts too."""
    place, journals = prepared.store, prepared.journals
    if prepared.rebuild is not None and not place.exists(DESCRIPTOR):
        place, journals = prepared.home, prepared.rebuild.work_dir / "journals"
    descriptor = read_descriptor(place)
    is_capped = prepared.job.running.budget != BudgetCap()
    return spent(place, descriptor, journals, prepared.locks) if is_capped and descriptor is not None else Totals()


def _anew(rows: Rows, job: Job) -> _Scope:
    running, columns = job.running, job.columns
    for name in ("retry_rejects", "rebuild", "append"):
        if getattr(running, name):
            raise ConfigurationError(
                f"{name} is about a dataset that exists, and no destination is given", hint="name the destination"
            )
    check_drop(columns, running.tag_columns)
    lines = lines_of(rows, job.selection, hive=columns.hive, drop=columns.drop)
    require_columns(columns, lines.schema())
    sending = check_sending(lines, job.card(), job.parameters, columns.parameters, job.unchecked)
    given = [running.reuse] if isinstance(running.reuse, str | os.PathLike) else running.reuse
    places = [find_cache(one) for one in given]
    return _Scope(
        lines,
        sending,
        shelves_of(places, job.audio),
        places,
        note=hugging_face_note(passed_through(columns, lines.schema())),
    )


def _estimate(counts: Counts, job: Job, latency: Latency | None, spent: Totals, today: date) -> Estimate:
    card, running = job.card(), job.running
    price, pace = price_at(card.prices, today), pace_of(counts, card, running.limits, latency)
    audio_hours = math.fsum(one.audio_hours for one in counts.spoken)
    cost, times = cost_at(price, counts, card), purchases_at_most(running.quality)
    notes = (
        *notes_on(counts, card, job.service, pace, today),
        *notes_on_caps(counts, cost, running.budget, spent),
    )
    return Estimate(
        rows=counts.rows,
        rows_there=counts.rows_there,
        rows_rejected_before=counts.rows_rejected_before,
        rows_without_text=counts.rows_without_text,
        rows_too_long=counts.rows_too_long,
        reused_rows=counts.reused_rows,
        repeated_rows=counts.repeated_rows,
        segments=counts.segments,
        characters_billed=counts.characters_billed,
        cost=cost,
        segments_at_most=counts.segments * times,
        characters_at_most=counts.characters_billed * times,
        cost_at_most=None if cost is None else cost * times,
        currency=price.currency if price else None,
        price_id=price.price_id if price else None,
        price_basis=price.basis if price else None,
        audio_hours=audio_hours,
        audio_bytes=round(audio_hours * 3_600 * WAV_BYTES_PER_SECOND),
        spoken=counts.spoken,
        requests_per_minute=pace.requests_per_minute,
        characters_per_minute=pace.characters_per_minute,
        latency_s=pace.latency_s,
        latency_source=latency.source if latency else None,
        elapsed_s=pace.elapsed_s,
        limited_by=pace.limited_by,
        answer_within_s=pace.answer_within_s,
        notes=notes,
        rows_unspeakable=counts.rows_unspeakable,
    )
