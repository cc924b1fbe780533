"""From settings to a job: names are looked up, keys found, and text becomes parameters of the model's types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tts_pipeline.card import Card
from tts_pipeline.catalog import Catalog, load_catalog
from tts_pipeline.catalog.checks import parameter_from_text
from tts_pipeline.catalog.keys import with_key
from tts_pipeline.cli.settings import Settings
from tts_pipeline.client.retakes import quality_policy
from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, Selection
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Job, RunOptions
from tts_pipeline.models import ParameterValue
from tts_pipeline.storage.location import file_path


def build_job(settings: Settings, environ: Mapping[str, str] | None) -> Job:
    """Make the job that settings describe.

    Args:
        settings: As given.
        environ: Where the service's key is; None is for a job that sends nothing, and needs none.

    Raises:
        ConfigurationError: No service or model, an unknown one, no key, or text that is no value of its parameter.
    """
    catalog = load_catalog(_path(settings.catalog), _path(settings.prices))
    if settings.service is None:
        raise ConfigurationError(
            "no service is given", hint=f"use --service with {_join_alternatives(catalog.services)}, or a URL"
        )
    keyless = catalog.service(settings.service)
    service = keyless if environ is None else with_key(keyless, environ)
    if settings.model is None:
        raise ConfigurationError("no model is given", hint=f"use --model with {_model_names(catalog, service.name)}")
    card = catalog.card(service, settings.model)
    return Job(
        source=settings.source,
        destination=settings.destination,
        service=service,
        model=settings.model,
        parameters=_parameters(settings, card),
        columns=_columns(settings),
        selection=Selection(**_explicit_values(settings, Selection)),
        audio=_audio(settings),
        unchecked=settings.unchecked,
        catalog=catalog,
        options=_run_options(settings),
    )


def _parameters(settings: Settings, card: Card) -> dict[str, ParameterValue]:
    spelled = {name: parameter_from_text(card, name, text) for name, text in settings.spelled.items()}
    return {**settings.set, **spelled}


def _columns(settings: Settings) -> InputColumns:
    optional: dict[str, Any] = {"text": settings.text_column, "utterance_id": settings.id_column, "hive": settings.hive}
    return InputColumns(
        generate_ids=settings.generate_ids,
        parameters=settings.column,
        rename=settings.rename,
        drop=settings.drop,
        **{name: value for name, value in optional.items() if value is not None},
    )


def _audio(settings: Settings) -> AudioSettings:
    values = _explicit_values(settings, AudioSettings)
    return AudioSettings(**values if settings.audio_format is None else {**values, "format": settings.audio_format})


def _run_options(settings: Settings) -> RunOptions:
    return RunOptions(
        limits=Limits(**_explicit_values(settings, Limits)),
        part_rows=settings.part_rows,
        work_dir=_path(settings.work_dir),
        max_rejects=settings.max_rejects,
        quality=quality_policy(settings.quality),
        unspeakable=settings.unspeakable,
        budget=_budget(settings),
        reuse=settings.reuse,
        retry_rejects=settings.retry_rejects,
        append=settings.append,
        rebuild=settings.rebuild,
        lease_s=settings.lease_s,
        tags=settings.tag,
        tag_columns=settings.tag_column,
    )


def _budget(settings: Settings) -> BudgetCap:
    amount, currency = settings.max_cost or (None, None)
    return BudgetCap(max_cost=amount, currency=currency, max_characters=settings.max_characters)


def _explicit_values(settings: Settings, kind: type[Any]) -> dict[str, Any]:
    """Return what was given of a value's fields; the others keep the defaults of ``config``."""
    values = {setting.name: getattr(settings, setting.name, None) for setting in fields(kind)}
    return {name: value for name, value in values.items() if value is not None}


def _model_names(catalog: Catalog, service: str) -> str:
    return (
        _join_alternatives([card.model for card in catalog.cards.values() if card.service == service])
        or "the name it has there"
    )


def _path(path: str | None) -> Path | None:
    return None if path is None else file_path(path)


def _join_alternatives(names: Iterable[str]) -> str:
    return " or ".join(names)
