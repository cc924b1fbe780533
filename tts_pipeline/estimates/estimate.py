"""Estimate a job for some rows: its requests, cost and time; nothing is sent or written."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import Any

from tts_pipeline.cache.cache_location import CacheLocation, CacheTier, find_cache
from tts_pipeline.card import Endpoint
from tts_pipeline.catalog import AnyCatalog
from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, Selection
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE as DESCRIPTOR
from tts_pipeline.dataset.descriptor import read_descriptor
from tts_pipeline.dataset.spending import total_spend
from tts_pipeline.deprecation import Moved, renamed_arguments
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.estimates.audio_locator import AudioLocator, open_own_tiers, open_tiers
from tts_pipeline.estimates.cost_and_time import cap_notes, estimate_notes, estimate_time, expected_cost, max_purchases
from tts_pipeline.estimates.input_rows import AnyRows, InputRows, SourceRows, open_rows
from tts_pipeline.estimates.measurements import Latency, read_measurements
from tts_pipeline.estimates.purchase_counter import PurchaseCounter
from tts_pipeline.estimates.remaining_rows import RemainingRows
from tts_pipeline.estimates.result import WAV_BYTES_PER_SECOND, Estimate
from tts_pipeline.estimates.row_parameters import RowParameters, check_row_parameters
from tts_pipeline.estimates.tally import REQUEST_DTYPE, Counts, tally
from tts_pipeline.job import Job, RunOptions
from tts_pipeline.job.job import list_locations
from tts_pipeline.job.prepare import prepare
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.models import ParameterValue
from tts_pipeline.money import Cost, price_at
from tts_pipeline.source.columns import hugging_face_note, passthrough_columns, require_columns
from tts_pipeline.source.dropped_columns import check_drop
from tts_pipeline.source.frame_stream import temporary_parquet
from tts_pipeline.storage.hash_partitions import HashPartitions


def _limits_in_options(limits: Limits | None, arguments: Mapping[str, Any]) -> dict[str, RunOptions]:
    return {} if limits is None else {"options": replace(arguments.get("options") or RunOptions(), limits=limits)}


@renamed_arguments(running="options", limits=Moved("options.limits", _limits_in_options))
def estimate(  # noqa: PLR0913 (public: the settings of a job are keyword arguments)
    rows: AnyRows,
    service: Endpoint,
    *,
    model: str,
    destination: str | os.PathLike[str] | None = None,
    text: str | None = None,
    utterance_id: str | None = None,
    columns: Mapping[str, str] | InputColumns | None = None,
    audio: AudioSettings | None = None,
    selection: Selection | None = None,
    options: RunOptions | None = None,
    catalog: AnyCatalog | None = None,
    unchecked: Sequence[str] = (),
    latency_s: float | None = None,
    hive: bool = InputColumns().hive,
    drop: Sequence[str] = (),
    **parameters: ParameterValue,
) -> Estimate:
    """Estimate the cost of speech for all rows, and the time that it takes; nothing is sent.

    10,000,000 rows take seconds, in flat memory.

    Args:
        rows: A Polars DataFrame or LazyFrame; an object with ``__arrow_c_stream__``, which is read into memory whole;
            or a Parquet file, a folder of Parquet files, a glob or an fsspec URL. A LazyFrame is run twice if
            ``columns`` names columns for parameters.
        service: The service; it needs no key: ``load_catalog().service(name)`` has none, ``find_service`` needs one.
        model: The model's name, as the service knows it.
        destination: The dataset that the rows are for; rows that it has already are not counted. It is only read. None
            is a new dataset, and ids are not read.
        text: The source column of the text; None is that of ``columns``, which is ``text`` by default.
        utterance_id: The source column of the id, a string or an integer; None is that of ``columns``, which is ``id``
            by default.
        columns: Voice parameter -> source column that carries it row by row; a null leaves the parameter unset. An
            ``InputColumns`` can also generate ids or rename columns, for example.
        audio: The format and sample rate of the dataset's audio, which decide what can be reused; None is audio as
            received.
        selection: The rows to take; None is all rows.
        options: How the job would be run: limits, reuse, retakes, retried rejects, a rebuild, a cap; None is the
            defaults. Without a rate in its limits, the service's own rates count, if they are known.
        catalog: Services, cards and prices, or the TOML file of your own; None is the built-in catalog.
        unchecked: Names of parameters that are not checked against the model's card.
        latency_s: Mean time from a request to its answer, in seconds; None is the time measured by the destination and
            the datasets of ``options.reuse``, if they measured any.
        hive: Whether folders of the source such as ``speaker=Cherry`` are columns.
        drop: Columns of the source that are not read.
        **parameters: Voice parameters with the same value for all rows (``voice="Cherry"``).

    Returns:
        Rows, requests, characters, cost, hours of audio and seconds. A value that is not known is None, never 0.

    Raises:
        ConfigurationError: An argument is wrong, as it would be for ``run``. Never retried.
        StorageError: The source or the destination cannot be read. Not retried: call again.

    Example:
        >>> import polars as pl
        >>> import tts_pipeline as tts
        >>> lines = pl.DataFrame({"line": ["Good morning.", "早上好。", "Good morning."]})
        >>> baze = tts.load_catalog().service("baze")
        >>> result = tts.estimate(lines, baze, model="qwen3-tts-instruct-flash", text="line", voice="Cherry")
        >>> result.segments, result.characters_billed, result.cost, result.currency
        (2, 20, Decimal('0.001600000'), 'CNY')
    """
    input_columns = InputColumns.from_arguments(columns, text=text, utterance_id=utterance_id, hive=hive, drop=drop)
    options = options or RunOptions()
    job = Job(
        source=rows if isinstance(rows, str | os.PathLike) else "",
        destination=destination or "",
        service=service,
        model=model,
        parameters=parameters,
        columns=input_columns if destination else replace(input_columns, generate_ids=True),
        selection=selection or Selection(),
        audio=audio or AudioSettings(),
        unchecked=tuple(unchecked),
        catalog=catalog,
        options=options,
    )
    if destination and not isinstance(rows, str | os.PathLike):
        # As in a run, because a dataset identifies its source by its files.
        with temporary_parquet(rows, options.work_dir, input_columns.drop) as file:
            return estimate_rows(file, replace(job, source=file), latency_s=latency_s)
    return estimate_rows(rows, job, latency_s=latency_s)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The remaining rows of a job, and its caches and earlier datasets, its own first.

    ``prior_spend`` is the most that earlier runs of the job spent; ``note`` is about the columns of a new dataset.
    """

    input_rows: InputRows
    parameters: RowParameters
    tiers: Sequence[CacheTier]
    locations: Sequence[CacheLocation]
    prior_spend: Cost = field(default_factory=Cost)
    note: str | None = None


def estimate_rows(rows: AnyRows, job: Job, *, latency_s: float | None = None, today: date | None = None) -> Estimate:
    """Estimate a job for some rows; see ``estimate``.

    With a destination the rows are the job's source; a destination of "" is none. ``today`` (UTC) selects the price.
    """
    inputs = _inputs_of_dataset(job) if os.fspath(job.destination) else _inputs_without_dataset(rows, job)
    counter = PurchaseCounter(
        inputs.parameters,
        AudioLocator(inputs.tiers, job.options.quality, job.service, job.card()),
        keeps_unspeakable=job.options.unspeakable == "keep",
    )
    measured_latency, paces = read_measurements(inputs.locations, job)
    latency = measured_latency if latency_s is None else Latency(latency_s)
    with HashPartitions(job.options.work_dir, REQUEST_DTYPE) as requests:
        counts = tally(inputs.input_rows, job.columns.text, counter, requests, paces)
    now = datetime.now(UTC) if today is None else datetime.combine(today, time(), UTC)
    result = _make_estimate(counts, job, latency, inputs.prior_spend, now)
    notes = result.notes if inputs.note is None else (*result.notes, inputs.note)
    return replace(result, left_out=inputs.input_rows.left_out, notes=notes)


def _inputs_of_dataset(job: Job) -> _Inputs:
    """Read a job's destination: rows and audio that it has are not bought again."""
    prepared = prepare(job, sends=False)
    source = SourceRows(prepared.source, prepared.row_indices)
    parameters = check_row_parameters(source, prepared.card, job.parameters, job.columns.parameters, job.unchecked)
    tiers = open_tiers(prepared.cache_locations, job.audio)
    locations = [location for location in prepared.cache_locations if isinstance(location, CacheLocation)]
    descriptor = read_descriptor(prepared.store)
    if descriptor is None:
        note = hugging_face_note(prepared.mapper.roles.passthrough)
        return _Inputs(source, parameters, tiers, locations, _prior_spend(prepared), note)
    own_location = CacheLocation(prepared.store, prepared.home.root, descriptor, is_new=False)
    return _Inputs(
        input_rows=RemainingRows(prepared),
        parameters=parameters,
        tiers=[*open_own_tiers(prepared), *tiers],
        locations=[own_location, *locations],
        prior_spend=_prior_spend(prepared),
    )


def _prior_spend(prepared: PreparedJob) -> Cost:
    """Add up the spending of earlier runs if the job has a cap; in a rebuild, that of the old generation counts too."""
    store, journals = prepared.store, prepared.journals_dir
    if prepared.rebuild is not None and not store.exists(DESCRIPTOR):
        store, journals = prepared.home, prepared.rebuild.work_dir / "journals"
    descriptor = read_descriptor(store)
    is_capped = prepared.job.options.budget != BudgetCap()
    return (
        total_spend(store, descriptor, journals, prepared.leases.lock_folder)
        if is_capped and descriptor is not None
        else Cost()
    )


def _inputs_without_dataset(rows: AnyRows, job: Job) -> _Inputs:
    options, columns = job.options, job.columns
    for name in ("retry_rejects", "rebuild", "append"):
        if getattr(options, name):
            raise ConfigurationError(
                f"`{name}` needs an existing dataset, and no destination is given", hint="name the destination"
            )
    check_drop(columns, options.tag_columns)
    input_rows = open_rows(rows, job.selection, hive=columns.hive, drop=columns.drop)
    require_columns(columns, input_rows.schema())
    parameters = check_row_parameters(input_rows, job.card(), job.parameters, columns.parameters, job.unchecked)
    locations = [find_cache(location) for location in list_locations(options.reuse)]
    return _Inputs(
        input_rows,
        parameters,
        open_tiers(locations, job.audio),
        locations,
        note=hugging_face_note(passthrough_columns(columns, input_rows.schema())),
    )


def _make_estimate(counts: Counts, job: Job, latency: Latency | None, prior_spend: Cost, now: datetime) -> Estimate:
    card, options = job.card(), job.options
    price, time = price_at(card.prices, now), estimate_time(counts, card, options.limits, latency)
    audio_hours = math.fsum(voice.audio_hours for voice in counts.spoken)
    cost, factor = expected_cost(price, counts, card), max_purchases(options.quality)
    notes = (
        *estimate_notes(counts, card, job.service, time, now),
        *cap_notes(counts, cost, options.budget, prior_spend),
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
        segments_at_most=counts.segments * factor,
        characters_at_most=counts.characters_billed * factor,
        cost_at_most=None if cost is None else cost * factor,
        currency=price.currency if price else None,
        price_id=price.price_id if price else None,
        price_basis=price.basis if price else None,
        audio_hours=audio_hours,
        audio_bytes=round(audio_hours * 3_600 * WAV_BYTES_PER_SECOND),
        spoken=counts.spoken,
        latency_source=latency.source if latency else None,
        **asdict(time),
        notes=notes,
        rows_unspeakable=counts.rows_unspeakable,
    )
