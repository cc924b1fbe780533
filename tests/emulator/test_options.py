from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import pytest

from tts_pipeline.emulator.options import EmulatorOptions, add_arguments, options_from, to_arguments


def read(words: list[str]) -> EmulatorOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options_from(parser.parse_args(words))


EVERYTHING = EmulatorOptions(
    host="127.0.0.2",
    port=8123,
    voice_mode="tone",
    tone_bytes=48_000,
    latency_ms=200.5,
    requests_per_minute=180.0,
    rate_tolerance_ms=0.0,
    max_in_flight=7,
    required_key="-made up",
    key_header="api-key",
    required_query="api-version=1",
    answer="url",
    bill=Path("a folder/bill.jsonl"),
    speakers=3,
    while_stdin=True,
)


@pytest.mark.parametrize("options", [EmulatorOptions(), EVERYTHING])
def test_options_survive_the_command_line(options: EmulatorOptions) -> None:
    """A started process has exactly the options that it was started with."""
    assert read(to_arguments(options)) == options


def test_every_option_is_tried() -> None:
    """The case above differs from the defaults in every field."""
    assert [each.name for each in fields(EVERYTHING) if getattr(EVERYTHING, each.name) == each.default] == []


def test_the_key_is_not_shown() -> None:
    """Also a made-up key stays out of every repr."""
    assert "made up" not in repr(EVERYTHING)


@pytest.mark.parametrize(
    "words",
    [
        ["--port=-1"],
        ["--latency-ms=-1"],
        ["--requests-per-minute=0"],
        ["--speakers=0"],
        ["--latency-ms=inf"],
        ["--port=x"],
    ],
)
def test_nonsense_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong number is a usage error that names its flag."""
    with pytest.raises(SystemExit) as exc_info:
        read(words)
    assert exc_info.value.code == 2
    assert words[0].split("=")[0] in capsys.readouterr().err
