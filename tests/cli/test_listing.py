"""What there is: services and models, for people and for programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_services_say_where_their_key_comes_from(command: Command) -> None:
    """Every service of the catalog, with the variable of its key, and never a key."""
    output = command("services").out
    for word in ("local", "no key", "MODELSTREAM_API_KEY", "https://baze-api.powerbuyin.top", "TTS_LOCAL_URL"):
        assert word in output


def test_a_key_is_never_listed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for people nor for programs."""
    monkeypatch.setenv("MODELSTREAM_API_KEY", "sk-very-secret")
    for flags in ((), ("--json",)):
        result = command("services", *flags)
        assert "sk-very-secret" not in result.out
        assert "api_key" not in result.out


def test_models_are_listed_briefly(command: Command) -> None:
    """One line a model: voices, languages, limit and price."""
    lines = command("models").out.splitlines()
    line = next(line for line in lines if line.startswith("modelstream"))
    assert " ".join(line.split()) == (
        "modelstream qwen3-tts-flash 6 zh en 600 characters 0.8 CNY per 10,000 characters"
    )


def test_a_model_is_shown_in_full(command: Command) -> None:
    """Voices with labels, languages, parameters with ranges, limit, and the price with basis and source."""
    output = command("models", "qwen3-tts-flash", "--service", "modelstream").out
    for text in (
        "qwen3-tts-flash (= qwen3-tts-flash-2025-11-27) on modelstream",
        "en (English)",
        "600 characters",
        "the maker's list price",
        "https://help.aliyun.com",
        "Zhibao    Warm Male",
        "a number from 0.5 to 2 in steps of 0.1",
        "one of 24000, 16000",
    ):
        assert text in output


def test_a_service_by_url_shows_the_card_that_would_hold(command: Command) -> None:
    """The built-in card of that model's name; an unknown model takes anything and has no price."""
    output = command("models", "qwen3-tts-flash", "--service", "https://speech.example").out
    assert "0.8 CNY" in output
    unknown = command("models", "whatever", "--service", "https://speech.example").out
    assert "any parameter" in unknown
    assert "costs will be null" in unknown


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("qwen3-tts-flesh",), "Did you mean 'qwen3-tts-flash'?"),
        (("--service", "locl"), "Did you mean 'local'?"),
        (("tts-2", "--service", "openai"), "Did you mean 'tts-1'?"),
        (("--service", "https://speech.example"), "no models of"),
    ],
)
def test_what_there_is_not_is_named(command: Command, argv: tuple[str, ...], message: str) -> None:
    """Status 2, and the nearest name."""
    result = command("models", *argv)
    assert result.status == 2
    assert message in result.err


def test_programs_get_everything(command: Command) -> None:
    """Money and ranges as text, languages by tag, one object."""
    (model,) = command("models", "qwen3-tts-instruct-flash", "--service", "baze", "--json").json["models"]
    assert model["languages"]["de"] == "German"
    assert model["prices"][0]["per_10k_characters"] == "0.8"
    assert "Eldric Sage" in model["parameters"]["voice"]["choices"]
    assert command("services", "--json").json["services"][0]["name"] == "local"


def test_a_catalog_of_ones_own_is_listed(command: Command, tmp_path: Path) -> None:
    """What a user adds is shown with the price that is theirs, and when it holds."""
    catalog_file = tmp_path / "mine.toml"
    catalog_file.write_text(
        '[services.studio]\nbase_url = "https://studio.example"\nauth = "none"\n'
        '[prices.ours]\ncurrency = "EUR"\nper_10k_characters = 0.5\neffective_from = 2026-01-01\n'
        '[[cards]]\nservice = "studio"\nmodel = "narrator"\nprices = ["ours"]\n'
    )
    assert "https://studio.example" in command("services", "--catalog", catalog_file).out
    output = command("models", "narrator", "--catalog", catalog_file).out
    assert "0.5 EUR per 10,000 characters (your own price, from 2026-01-01)" in output
