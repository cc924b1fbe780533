"""Build a job from settings: look up names, find keys, and parse text into typed parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tts_pipeline.catalog import Catalog, Service, load_catalog
from tts_pipeline.catalog.checks import parameter_from_text
from tts_pipeline.catalog.keys import with_key
from tts_pipeline.cli.settings import Settings
from tts_pipeline.client.retakes import quality_policy
from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, Selection
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Job, RunOptions
from tts_pipeline.storage.location import file_path


def build_job(settings: Settings, environ: Mapping[str, str] | None) -> Job:
    """Build a job from settings; without ``environ`` the job sends nothing, and its service needs no key.

    Raises:
        ConfigurationError: Service, model or key is missing, a name is unknown, or a text is no value of its parameter.
    """
    catalog = load_catalog(_path(settings.get("catalog")), _path(settings.get("prices")))
    service = _service(settings.get("service"), catalog)
    service = service if environ is None else with_key(service, environ)
    model = _model(settings.get("model"), catalog, service)
    card = catalog.card(service, model)
    spelled = {name: parameter_from_text(card, name, text) for name, text in settings.spelled.items()}
    return Job(
        source=settings.source,
        destination=settings.destination,
        service=service,
        model=model,
        parameters={**(settings.get("set") or {}), **spelled},
        columns=InputColumns(**settings.of("columns")),
        selection=Selection(**settings.of("selection")),
        audio=AudioSettings(**settings.of("audio")),
        unchecked=settings.get("unchecked") or (),
        catalog=catalog,
        options=_run_options(settings),
    )


def _service(name: str | None, catalog: Catalog) -> Service:
    if name is None:
        raise ConfigurationError(
            "no service is given", hint=f"use --service with {' or '.join(catalog.services)}, or a URL"
        )
    return catalog.service(name)


def _model(name: str | None, catalog: Catalog, service: Service) -> str:
    if name is None:
        models = " or ".join(card.model for card in catalog.cards.values() if card.service == service.name)
        raise ConfigurationError(
            "no model is given", hint=f"use --model with {models or 'the name that the service gives it'}"
        )
    return name


def _run_options(settings: Settings) -> RunOptions:
    amount, currency = settings.get("max_cost") or (None, None)
    changes: dict[str, Any] = {
        "limits": Limits(**settings.of("limits")),
        "budget": BudgetCap(amount, currency, settings.get("max_characters")),
        "quality": quality_policy(settings.get("quality") or {}),
        "work_dir": _path(settings.get("work_dir")),
    }
    return RunOptions(**{**settings.of("options"), **changes})


def _path(path: str | None) -> Path | None:
    return None if path is None else file_path(path)
