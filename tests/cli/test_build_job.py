"""From settings to a job: names looked up, text given the types of the model, defaults left to the package."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tts_pipeline.cli.build_job import build_job
from tts_pipeline.cli.settings import Settings
from tts_pipeline.config import BudgetCap, InputColumns, Limits, Selection
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import RunOptions

LOCAL = Settings("SOURCE", "DESTINATION", {"service": "local", "model": "qwen3-tts-flash"})


def test_a_job_of_nothing_has_the_defaults_of_the_package() -> None:
    """The command line has no defaults of its own."""
    job = build_job(LOCAL, {})
    assert (job.options, job.columns, job.selection) == (RunOptions(), InputColumns(), Selection())


def test_text_from_a_shell_gets_the_types_of_the_model() -> None:
    """``--set`` knows numbers and booleans; what a file gave with a type keeps it."""
    settings = Settings(
        "S",
        "D",
        {"service": "local", "model": "qwen3-tts-flash", "set": {"pitch": 1.5}},
        {"speed": "1.2", "enable_timestamp": "false", "voice": "Cherry"},
    )
    assert build_job(settings, {}).parameters == {
        "pitch": 1.5,
        "speed": 1.2,
        "enable_timestamp": False,
        "voice": "Cherry",
    }


def test_every_setting_reaches_the_job(tmp_path: Path) -> None:
    """A flag that is read and then forgotten would be worse than none."""
    settings = Settings(
        "S",
        "D",
        {
            "service": "https://speech.example/v1",
            "model": "qwen3-tts-flash",
            "column": {"voice": "speaker"},
            "unchecked": ("voice",),
            "rename": {"a": "b"},
            "id_column": "uid",
            "text_column": "sentence",
            "sample": 10,
            "seed": 7,
            "max_concurrency": 32,
            "requests_per_minute": 90,
            "characters_per_minute": 1_000,
            "max_cost": (Decimal("0.5"), "CNY"),
            "max_characters": 700,
            "max_rejects": 0.05,
            "max_attempts": 3,
            "timeout_s": 30,
            "part_rows": 100,
            "work_dir": str(tmp_path),
            "tag": {"team": "books"},
            "tag_column": {"chapter": "chapter"},
        },
    )
    job = build_job(settings, {"TTS_API_KEY": "a-key"})
    assert (job.service.name, job.service.api_key) == ("https://speech.example", "a-key")
    assert job.columns == InputColumns("sentence", "uid", False, {"voice": "speaker"}, {"a": "b"})
    assert job.selection == Selection(None, 10, 7)
    assert job.unchecked == ("voice",)
    assert job.options == RunOptions(
        limits=Limits(
            max_concurrency=32, requests_per_minute=90, characters_per_minute=1_000, max_attempts=3, timeout_s=30
        ),
        part_rows=100,
        work_dir=tmp_path,
        max_rejects=0.05,
        budget=BudgetCap(Decimal("0.5"), "CNY", 700),
        tags={"team": "books"},
        tag_columns={"chapter": "chapter"},
    )


def test_a_catalog_of_ones_own_adds_a_service(tmp_path: Path) -> None:
    """A service and a card in TOML, without code."""
    catalog_file = tmp_path / "mine.toml"
    catalog_file.write_text(
        '[services.studio]\nbase_url = "https://studio.example"\nauth = "none"\n'
        '[[cards]]\nservice = "studio"\nmodel = "narrator"\n'
    )
    settings = Settings("S", "D", {"service": "studio", "model": "narrator", "catalog": str(catalog_file)})
    assert build_job(settings, {}).card().model == "narrator"


def test_prices_of_ones_own_reach_the_card(tmp_path: Path) -> None:
    """In place of the list price."""
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[prices.ours]\nservice = "local"\nmodel = "qwen3-tts-flash"\ncurrency = "EUR"\nper_10k_characters = 0.2\n'
    )
    card = build_job(replace(LOCAL, options={**LOCAL.options, "prices": str(prices)}), {}).card()
    assert [(price.price_id, price.basis) for price in card.prices] == [("ours", "user")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings("S", "D"), "no service is given (use --service with local or modelstream"),
        (Settings("S", "D", {"service": "baze"}), "service 'baze' needs a key (set BAZE_API_KEY"),
        (Settings("S", "D", {"service": "local"}), "no model is given (use --model with qwen3-tts-flash or"),
    ],
)
def test_what_is_missing_is_named_with_what_there_is(settings: Settings, message: str) -> None:
    """The message offers the names that would do."""
    with pytest.raises(ConfigurationError) as exc_info:
        build_job(settings, {})
    assert message in str(exc_info.value)
