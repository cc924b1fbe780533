"""The flags by which a dataset lives on."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import LOCAL, Command, MakeSource
from tts_pipeline.emulator.local_service import LocalService


def test_rejects_are_retried_by_a_flag(
    tmp_path: Path, local: LocalService, make_source: MakeSource, command: Command
) -> None:
    """Exit 3 with rejects, again as long as nobody asks, and 0 when they are speech."""
    source = make_source(5)
    run = ("run", source, tmp_path / "out", *LOCAL, "--voice", "Cherry", "--json", "--quiet")
    local.set_faults([{"what": "refuse", "text": "number 3"}])
    assert command(*run).status == 3
    local.clear_faults()
    assert command(*run).status == 3
    result = command(*run, "--retry-rejects")
    assert (result.status, result.json["speech"], result.json["this_run"]["attempts"]) == (0, 5, 1)


def test_a_changed_source_is_rebuilt_by_a_flag(
    tmp_path: Path, local: LocalService, make_source: MakeSource, command: Command
) -> None:
    """Without it exit 2 and a message that names it; with it only the new row is bought. A job file may say so, too."""
    run = ("run", make_source(5), tmp_path / "out", *LOCAL, "--voice", "Cherry", "--json", "--quiet")
    assert command(*run).status == 0
    make_source(6)
    refusal = command(*run)
    assert (refusal.status, "--rebuild" in refusal.err) == (2, True)
    (tmp_path / "job.toml").write_text("rebuild = true\n")
    result = command(*run, "--config", tmp_path / "job.toml")
    assert (result.status, result.json["speech"], result.json["reused"]) == (0, 6, 5)
    assert result.json["this_run"]["attempts"] == 1
    assert result.json["destination"] == str(tmp_path / "out")


def test_files_in_between_are_appended_by_a_flag(
    tmp_path: Path, local: LocalService, make_source: MakeSource, command: Command
) -> None:
    """Told by the message of the run without it."""
    (tmp_path / "lines").mkdir()
    for number, name in enumerate("ac"):
        make_source(1, name=f"lines/{name}.parquet", id=[f"u{number}"])
    run = ("run", tmp_path / "lines", tmp_path / "out", *LOCAL, "--voice", "Cherry", "--json", "--quiet")
    assert command(*run).status == 0
    make_source(1, name="lines/b.parquet", id=["u9"])
    refusal = command(*run)
    assert (refusal.status, "--append" in refusal.err) == (2, True)
    assert command(*run, "--append").json["rows"] == 3
