"""The door: rows and a model go in, the estimate comes out; nothing is sent and nothing is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import platformdirs

from tts_pipeline.catalog import Catalog, load_catalog
from tts_pipeline.config import InputColumns, Limits, Selection
from tts_pipeline.cost import price_at
from tts_pipeline.dataset.rows import require_columns
from tts_pipeline.estimates.figures import WAV_BYTES_PER_SECOND, Estimate
from tts_pipeline.estimates.parameters import check_sending
from tts_pipeline.estimates.repeats import Repeats
from tts_pipeline.estimates.rows import Rows, lines_of
from tts_pipeline.estimates.tally import Counts, tally
from tts_pipeline.estimates.terms import cost_at, notes_on, pace_of
from tts_pipeline.models import Card, Parameters, ParameterValue, Service


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked: a job without its rows, its destination and its key.

    Args:
        service: Needs no key.
        model: As sent.
        parameters: Voice parameters that are the same for all rows.
        columns: Where in the rows an utterance is found.
        selection: Which rows are taken.
        unchecked: Parameters whose values are not held against the card's lists.
        catalog: Services and cards; None is the built-in ones.
        limits: The rates to reckon with; without ``requests_per_minute`` the card's own holds.
    """

    service: Service
    model: str
    parameters: Parameters = field(default_factory=dict)
    columns: InputColumns = InputColumns()
    selection: Selection = Selection()
    unchecked: tuple[str, ...] = ()
    catalog: Catalog | None = None
    limits: Limits = Limits()

    def card(self) -> Card:
        """Return the card of the model on its service.

        Raises:
            ConfigurationError: The service has no such model.
        """
        return (self.catalog or load_catalog()).card(self.service, self.model)


def estimate(  # noqa: PLR0913 (a public door: what every job has, by name)
    rows: Rows,
    service: Service,
    *,
    model: str,
    columns: Mapping[str, str] | InputColumns | None = None,
    limits: Limits | None = None,
    catalog: Catalog | None = None,
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
        columns: Voice parameter -> column that carries it row by row; ``InputColumns`` names the column of the texts
            too, which is ``text`` otherwise. Ids are not looked at.
        limits: The rates to reckon with; None is the service's own, where known.
        catalog: Services, cards and prices; None is the built-in ones.
        **parameters: Voice parameters that are the same for all rows (``voice="Cherry"``).

    Raises:
        ConfigurationError: Something is wrong with the rows or the parameters, as it would be for a run.
        StorageError: A source cannot be read.
    """
    named = columns if isinstance(columns, InputColumns) else InputColumns(parameters=columns or {})
    inquiry = Inquiry(
        service=service,
        model=model,
        parameters=parameters,
        columns=InputColumns(text=named.text, generate_ids=True, parameters=named.parameters),
        catalog=catalog,
        limits=limits or Limits(),
    )
    return estimate_rows(rows, inquiry)


def estimate_rows(rows: Rows, inquiry: Inquiry, *, today: date | None = None) -> Estimate:
    """Estimate what an inquiry comes to for rows; see ``estimate``.

    Args:
        rows: As in ``estimate``.
        inquiry: What is asked; ids must be there when it names their column, though nothing depends on them.
        today: Chooses the price; None is today, in UTC.
    """
    card, columns = inquiry.card(), inquiry.columns
    lines = lines_of(rows, inquiry.selection)
    require_columns(columns, lines.schema())
    sending = check_sending(lines, card, inquiry.parameters, columns.parameters, inquiry.unchecked)
    with Repeats(Path(platformdirs.user_cache_dir("tts-pipeline"))) as repeats:
        counts = tally(lines, columns.text, sending, repeats)
    return _estimate(counts, card, inquiry, today or datetime.now(UTC).date())


def _estimate(counts: Counts, card: Card, inquiry: Inquiry, today: date) -> Estimate:
    price, pace = price_at(card.prices, today), pace_of(counts, card, inquiry.limits)
    audio_hours = math.fsum(one.audio_hours for one in counts.spoken)
    return Estimate(
        rows=counts.rows,
        rows_without_text=counts.rows_without_text,
        rows_too_long=counts.rows_too_long,
        repeated_rows=counts.repeated_rows,
        segments=counts.segments,
        characters_billed=counts.characters_billed,
        cost=cost_at(price, counts, card),
        currency=price.currency if price else None,
        price_id=price.price_id if price else None,
        price_basis=price.basis if price else None,
        audio_hours=audio_hours,
        audio_bytes=round(audio_hours * 3_600 * WAV_BYTES_PER_SECOND),
        spoken=counts.spoken,
        requests_per_minute=pace.requests_per_minute,
        characters_per_minute=pace.characters_per_minute,
        elapsed_s=pace.elapsed_s,
        limited_by=pace.limited_by,
        answer_within_s=pace.answer_within_s,
        notes=tuple(notes_on(counts, card, inquiry.service, pace, today)),
    )
