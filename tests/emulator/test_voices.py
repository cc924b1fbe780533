from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest

from tts_pipeline.emulator.voices import LANGUAGES, VOICES, guess_language

MODELSTREAM = {"Cherry", "Chelsie", "Zhibao", "Bingjiao", "Stella", "Aiden"}
BAZE = {
    *(
        "Cherry",
        "Serena",
        "Ethan",
        "Chelsie",
        "Momo",
        "Vivian",
        "Moon",
        "Maia",
        "Kai",
        "Nofish",
        "Bella",
        "Eldric Sage",
    ),
    *("Mia", "Mochi", "Bellona", "Vincent", "Bunny", "Neil", "Elias", "Arthur", "Nini", "Seren", "Pip", "Stella"),
}


def test_voices_are_those_of_both_services() -> None:
    """Every voice of either service speaks, and no other."""
    assert set(VOICES) == MODELSTREAM | BAZE


def test_every_voice_sounds_different() -> None:
    """No two names share throat, pitch and rate."""
    assert len({astuple(row) for row in VOICES.values()}) == len(VOICES)


def test_every_variant_is_there() -> None:
    """espeak-ng silently speaks without a variant that it does not find, so each must be a file."""
    loader = pytest.importorskip("espeakng_loader")
    folder = Path(loader.get_data_path()) / "voices" / "!v"
    assert [row.variant for row in VOICES.values() if not (folder / row.variant).is_file()] == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello world", "English"),
        ("1, 2, 3", "English"),
        ("你好,世界", "Chinese"),
        ("人権は大切です", "Japanese"),
        ("모든 인간은 人間", "Korean"),
        ("Все люди", "Russian"),
        ("Straße", "German"),
        ("¿Qué tal?", "Spanish"),
        ("informação", "Portuguese"),
    ],
)
def test_auto_follows_the_script(text: str, language: str) -> None:
    """The script decides; kana before Han characters, then a letter that only one language has."""
    assert guess_language(text) == language
    assert language in LANGUAGES
