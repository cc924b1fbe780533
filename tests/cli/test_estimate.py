"""The command ``estimate``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import LOCAL, MODEL, Command, MakeSource
from tts_pipeline.cli.parser import parse_arguments
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.options import OPTIONS, OptionKind

CHANGES = {
    "drop",
    "hive",
    *("service", "model", "voice", "column", "set", "unchecked", "text_column", "id_column", "generate_ids"),
    *("limit", "sample", "seed", "max_concurrency", "requests_per_minute", "characters_per_minute"),
    "account_concurrency",
    *("audio_format", "sample_rate_hz", "pause_ms", "quality", "unspeakable", "work_dir", "reuse", "catalog", "prices"),
    *("retry_rejects", "append", "rebuild", "rename", "json"),
}
"""Settings that an estimate reads; ``rename`` decides whether a dataset is the job's own."""

CHANGES_NOTHING = {
    *("max_cost", "max_characters", "max_rejects", "max_attempts", "timeout_s"),
    *("part_rows", "lease_s", "tag", "tag_column", "quiet", "account_store", "ledger"),
}
"""Settings of how a run is stopped, kept and shown."""

GATEWAY = ("--service", "modelstream", "--model", MODEL)


def test_an_estimate_is_what_a_run_then_comes_to(
    local: LocalService, command: Command, make_source: MakeSource, tmp_path: Path
) -> None:
    """Requests, characters and cost, a text of several segments and Han characters included."""
    source = make_source(4, text=["Hello.", "你好，世界。", "Some words. " * 100, ""])
    flags = (*LOCAL, "--column", "voice=speaker", "--json")
    estimate = command("estimate", source, *flags).json
    run = command("run", source, tmp_path / "dataset", *flags).json
    assert estimate["segments"] == run["attempts"] == 4
    assert estimate["characters_billed"] == run["characters_billed"] == local.bill()["characters"]
    assert estimate["cost"] == run["cost"]
    assert estimate["rows_without_text"] == run["rejects"] == 1


def test_no_key_is_needed_and_nothing_is_written(
    command: Command, make_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends nothing."""
    monkeypatch.delenv("MODELSTREAM_API_KEY", raising=False)
    source = make_source(3)
    monkeypatch.chdir(tmp_path)
    result = command("estimate", source, *GATEWAY, "--voice", "Cherry")
    assert (result.status, result.err) == (0, "")
    assert "modelstream may charge otherwise" in result.out
    assert "unknown: give --requests-per-minute" in result.out
    assert list(tmp_path.iterdir()) == [source]


def test_flags_are_those_of_a_run(command: Command, make_source: MakeSource, tmp_path: Path) -> None:
    """Where they matter: selection, columns, rates, and a job file with whatever else it holds."""
    source = make_source(10, line=["a" * number for number in range(1, 11)])
    job = tmp_path / "job.toml"
    job.write_text('service = "modelstream"\nmodel = "qwen3-tts-flash"\ntext_column = "line"\npart_rows = 100\n')
    flags = ("--config", job, "--limit", "4", "--characters-per-minute", "5", "--set", "speed=1.5", "--generate-ids")
    estimate = command("estimate", source, *flags, "--json").json
    assert (estimate["rows"], estimate["characters_billed"], estimate["elapsed_s"]) == (4, 10, 120.0)
    assert estimate["limited_by"] == "characters_per_minute"
    sampled = command("estimate", source, *GATEWAY, "--sample", "5", "--seed", "3", "--max-concurrency", "2", "--json")
    assert sampled.json["rows"] == 5


def test_prices_of_ones_own_count(command: Command, make_source: MakeSource, tmp_path: Path) -> None:
    """With their basis, and without the warning about list prices."""
    catalog_file = tmp_path / "mine.toml"
    catalog_file.write_text(
        '[services.studio]\nbase_url = "https://studio.example"\nauth = "none"\n'
        '[prices.ours]\ncurrency = "EUR"\nper_10k_characters = 100\n'
        '[[cards]]\nservice = "studio"\nmodel = "narrator"\nprices = ["ours"]\n'
    )
    source = make_source(1, text=["Ten chars."])
    estimate = command(
        "estimate", source, "--service", "studio", "--model", "narrator", "--catalog", catalog_file, "--json"
    ).json
    assert (estimate["cost"], estimate["currency"], estimate["price_basis"], estimate["notes"]) == (
        "0.100000000",
        "EUR",
        "user",
        [],
    )


def test_every_setting_of_a_run_has_its_meaning_for_an_estimate() -> None:
    """A new setting is put where it belongs: it changes what is bought or how long that takes, or it does not."""
    assert {option.name for option in OPTIONS} == CHANGES | CHANGES_NOTHING
    assert not CHANGES & CHANGES_NOTHING
    for option in OPTIONS:
        flags = [option.flag, *([] if option.kind is OptionKind.SWITCH else ["1"])]
        estimate = vars(parse_arguments(["estimate", "lines.parquet", "dataset", *flags]))
        run = vars(parse_arguments(["run", "lines.parquet", "dataset", *flags]))
        assert estimate == {**run, "command": "estimate", "latency_s": None}


def test_the_line_of_a_run_is_that_of_its_estimate(
    local: LocalService, command: Command, make_source: MakeSource, tmp_path: Path
) -> None:
    """``estimate`` in place of ``run``, with whatever flags that has."""
    pilot, full = tmp_path / "pilot", tmp_path / "full"
    line = (make_source(9), full, *LOCAL, "--voice", "Cherry", "--reuse", pilot, "--quality", "clipped=retry", "--json")
    command("run", make_source(9), pilot, *LOCAL, "--voice", "Cherry", "--limit", "4")
    output = command(
        "estimate", *line[:1], *line[2:-1], "--latency-s", "8", "--max-concurrency", "1", "--max-cost", "0.001CNY"
    ).out
    assert "time        40.0 s at 8 s an answer (given): a higher --max-concurrency makes it shorter" in output
    assert "the run stops at --max-cost 0.001 CNY" in output
    flags = ("--max-cost", "5CNY", "--tag", "team=a", "--quiet", "--part-rows", "2", "--max-attempts", "3")
    estimate = command("estimate", *line, *flags).json
    run = command("run", *line, *flags).json
    assert (estimate["segments"], estimate["reused_rows"]) == (run["attempts"], run["reused"]) == (5, 4)
    assert (estimate["cost"], estimate["segments_at_most"]) == (run["cost"], 15)
    assert command("estimate", *line, *flags).json["rows_there"] == 9
    assert local.bill()["received"] == 9
    output = command("estimate", *line[:-1], *flags, "--latency-s", "8").out
    assert "time        none: nothing is left to buy" in output
    assert "there       9 rows that the destination has" in output


def test_a_rehearsal_in_japanese_is_warned_of(
    local: LocalService, command: Command, make_source: MakeSource, tmp_path: Path
) -> None:
    """Before it, and once while it runs."""
    line = (
        make_source(3, text=["おはよう。", "Hello.", "こんばんは。"]),
        tmp_path / "out",
        *LOCAL,
        "--voice",
        "Cherry",
    )
    assert "note        the local service cannot rehearse Japanese" in command("estimate", *line).out
    assert command("run", *line, "--quiet").err.count("cannot rehearse Japanese") == 1
    assert local.bill()["received"] == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (GATEWAY, "SOURCE"),
        (("lines.parquet", *GATEWAY, "--retry-rejects"), "no destination is given"),
        (("lines.parquet", *GATEWAY, "--rebuild"), "no destination is given"),
        (("lines.parquet", *GATEWAY, "--latency-s", "0"), "--latency-s: must be more than 0"),
        (("lines.parquet", ".", *GATEWAY), "holds no dataset"),
        (("nowhere.parquet", *GATEWAY), "nowhere.parquet"),
        (("lines.parquet", "--service", "modelstream"), "no model is given"),
        (("lines.parquet", *GATEWAY, "--column", "voice=speakr"), "Did you mean 'speaker'?"),
        (("lines.parquet", *GATEWAY, "--id-column", "uid"), "no column 'uid'"),
        (("lines.parquet", *GATEWAY, "--column", "voice=note"), "'kept' (3 rows)"),
    ],
)
def test_mistakes_are_one_line_and_2(
    argv: tuple[str, ...], message: str, command: Command, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a run."""
    monkeypatch.chdir(make_source(3).parent)
    result = command("estimate", *argv)
    assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert message in result.err
