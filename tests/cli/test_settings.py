"""Settings: a job file says what the flags say, and a flag goes before it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tts_pipeline.cli.parser import parse_arguments
from tts_pipeline.cli.settings import Settings, read_settings
from tts_pipeline.errors import ConfigurationError

EVERYTHING = """
service = "local"
model = "qwen3-tts-flash"
voice = "Cherry"
column = { language_type = "language" }
set = { speed = 1.2, enable_timestamp = true, instructions = "warm" }
unchecked = ["voice"]
rename = { text_id = "id" }
id_column = "uid"
text_column = "sentence"
sample = 10
seed = 7
max_concurrency = 32
requests_per_minute = 90.5
characters_per_minute = 10_000
max_cost = "500 CNY"
max_characters = 7_000
max_rejects = 0.05
max_attempts = 3
timeout_s = 30
part_rows = 100
work_dir = "work"
reuse = ["pilot", "s3://bucket/store"]
catalog = "mine.toml"
prices = "prices.toml"
tag = { team = "books" }
tag_column = { chapter = "chapter" }
json = true
quiet = true
"""


def _settings(*flags: str) -> Settings:
    return read_settings(parse_arguments(["run", "SOURCE", "DESTINATION", *flags]))


def _file(folder: Path, content: str) -> str:
    path = folder / "job.toml"
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_a_job_file_gives_every_setting(tmp_path: Path) -> None:
    """The keys are the flags with underscores; paths are seen from the file."""
    assert _settings("--config", _file(tmp_path, EVERYTHING)) == Settings(
        "SOURCE",
        "DESTINATION",
        {
            "service": "local",
            "model": "qwen3-tts-flash",
            "set": {"speed": 1.2, "enable_timestamp": True, "instructions": "warm", "voice": "Cherry"},
            "column": {"language_type": "language"},
            "unchecked": ("voice",),
            "rename": {"text_id": "id"},
            "id_column": "uid",
            "text_column": "sentence",
            "sample": 10,
            "seed": 7,
            "max_concurrency": 32,
            "requests_per_minute": 90.5,
            "characters_per_minute": 10_000,
            "max_cost": (Decimal(500), "CNY"),
            "max_characters": 7_000,
            "max_rejects": 0.05,
            "max_attempts": 3,
            "timeout_s": 30,
            "part_rows": 100,
            "work_dir": str(tmp_path / "work"),
            "reuse": (str(tmp_path / "pilot"), "s3://bucket/store"),
            "catalog": str(tmp_path / "mine.toml"),
            "prices": str(tmp_path / "prices.toml"),
            "tag": {"team": "books"},
            "tag_column": {"chapter": "chapter"},
            "json": True,
            "quiet": True,
        },
    )


def test_a_flag_goes_before_the_file(tmp_path: Path) -> None:
    """Values are replaced, tables laid over one another, and a flag drops what it excludes."""
    flags = ("--voice", "Stella", "--set", "speed=2", "--limit", "5", "--generate-ids", "--tag", "team=films")
    more = ("--unchecked", "speed", "--max-attempts", "9", "--reuse", "s3://bucket/store", "--reuse", "more")
    settings = _settings("--config", _file(tmp_path, EVERYTHING.replace("seed = 7", "")), *flags, *more)
    assert settings.spelled == {"speed": "2", "voice": "Stella"}
    assert settings.get("set") == {"enable_timestamp": True, "instructions": "warm"}
    assert (settings.get("limit"), settings.get("sample")) == (5, None)
    assert (settings.get("generate_ids"), settings.get("id_column")) == (True, None)
    assert settings.get("tag") == {"team": "films"}
    assert settings.get("unchecked") == ("voice", "speed")
    assert settings.get("reuse") == (str(tmp_path / "pilot"), "s3://bucket/store", "more")
    assert (settings.get("max_attempts"), settings.get("max_concurrency")) == (9, 32)


def test_what_is_not_given_stays_not_given() -> None:
    """So that every default is written in one place only."""
    assert _settings() == Settings("SOURCE", "DESTINATION")


def test_the_value_of_a_pair_may_hold_anything() -> None:
    """Only the first equals sign separates; an empty text is a value."""
    settings = _settings("--set", "instructions=a=b", "--tag", "note=")
    assert settings.spelled == {"instructions": "a=b"}
    assert settings.get("tag") == {"note": ""}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("max_concurency = 3", "'max_concurency' is not a known key (Did you mean 'max_concurrency'?"),
        ("max-concurrency = 3", "Did you mean 'max_concurrency'?"),
        ("source = 'a.parquet'", "give SOURCE and DESTINATION on the command line"),
        ("max_concurrency = true", "'max_concurrency' must be a text or a number"),
        ("max_concurrency = 1.5", "'max_concurrency' must be a whole number"),
        ("timeout_s = -1", "'timeout_s' must be more than 0"),
        ("timeout_s = nan", "'timeout_s' must be more than 0"),
        ("generate_ids = 'yes'", "'generate_ids' must be true or false"),
        ("unchecked = 'voice'", "'unchecked' must be an array of names"),
        ("column = { voice = 3 }", "'column' must be a table of texts"),
        ("set = { speed = 2026-01-01 }", "'set' must be a table of numbers, booleans, texts, tables and arrays"),
        ("voice = 'Cherry'\nset = { voice = 'Stella' }", "a second value"),
        ("limit = 1\nsample = 1", "exclude each other"),
        ("model = ''", "'model' must not be empty"),
        ("this is no TOML", "is not TOML"),
    ],
)
def test_a_mistake_in_a_job_file_names_file_and_key(tmp_path: Path, content: str, message: str) -> None:
    """Whoever reads the message finds the line."""
    with pytest.raises(ConfigurationError) as exc_info:
        _settings("--config", _file(tmp_path, content))
    assert "job.toml" in str(exc_info.value)
    assert message in str(exc_info.value)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("100", 100), ("0.05", 0.05), ("1", 1)])
def test_max_rejects_is_a_number_or_a_share(text: str, value: float) -> None:
    """Below 1 it is a share of the rows; 0 allows none."""
    assert _settings("--max-rejects", text).get("max_rejects") == value


@pytest.mark.parametrize("text", ["1.0", "1.5", "-1", "5%", "nan", "inf", ""])
def test_max_rejects_is_never_ambiguous(text: str) -> None:
    """1.0 could be meant as one reject or as all rows: it is neither."""
    with pytest.raises(ConfigurationError, match="share of the rows"):
        _settings("--max-rejects", text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500CNY", ("500", "CNY")),
        ("500 CNY", ("500", "CNY")),
        ("0.5USD", ("0.5", "USD")),
        ("0.123456789012345678 eur", ("0.123456789012345678", "EUR")),
    ],
)
def test_max_cost_is_exact_money(text: str, value: tuple[str, str]) -> None:
    """An amount and its currency, apart or together; no float in between."""
    amount, currency = value
    assert _settings("--max-cost", text).get("max_cost") == (Decimal(amount), currency)


@pytest.mark.parametrize("text", ["500", "CNY", "CNY500", "5e2CNY", "1,000CNY", "5 CNYX", "nanCNY", "\u0665CNY", ""])
def test_max_cost_is_never_guessed(text: str) -> None:
    """Least of all its currency."""
    with pytest.raises(ConfigurationError, match="500CNY"):
        _settings("--max-cost", text)


@pytest.mark.parametrize(
    ("name", "url", "variable"),
    [
        ("account_store", "postgresql://speaker:hunter2@db.example/speech", "TTS_ACCOUNT_STORE"),
        ("ledger", "s3://speaker:hunter2@bucket/ledger", "TTS_LEDGER"),
    ],
)
def test_a_password_in_a_url_is_refused_in_a_flag(tmp_path: Path, name: str, url: str, variable: str) -> None:
    """Everybody on the machine sees the arguments of a process; a job file may have it."""
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(ConfigurationError, match=rf"{flag} has a password.*{variable}") as exc_info:
        _settings(flag, url)
    assert "hunter2" not in str(exc_info.value)
    assert str(_settings("--config", _file(tmp_path, f'{name} = "{url}"')).of("options")[name]) == url
    without = url.replace(":hunter2", "")
    assert str(_settings(flag, without).of("options")[name]) == without
