"""The entry points of the command line, each as a process: run, its exit statuses and its JSON; and validate."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import LOCAL, PROGRAM, Command, MakeSource
from tests.conftest import StartEmulator
from tests.machine import patience
from tts_pipeline.cli.run import progress_shown
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import Progress

KEYS = [
    "rows",
    "speech",
    "rejects",
    "attempts",
    "unknown_attempts",
    "reused",
    "characters_billed",
    "characters_upper_bound",
    "cost",
    "cost_upper_bound",
    "currency",
    "implausible_attempts",
    "cost_in_question",
    "audio_hours",
]
"""Of the dataset, and again of this run."""


def test_a_run_makes_a_dataset_and_a_second_one_sends_nothing(
    program: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Status 0 and every count right; run again, the dataset's counts are the same and this run's are none."""
    source, destination = make_source(5), tmp_path / "out"
    flags = (*LOCAL, "--column", "voice=speaker", "--set", "speed=1.2", "--json")
    first = program("run", source, destination, *flags)
    assert first.status == 0, first.err
    assert list(first.json) == [*KEYS, "elapsed_s", "invocation_id", "destination", "stopped_by", "this_run"]
    assert list(first.json["this_run"]) == KEYS
    bill = local.bill(entries=True)
    assert (bill["charged"], bill["characters"]) == (5, first.json["characters_billed"])
    assert {entry["parameters"]["speed"] for entry in bill["entries"]} == {1.2}
    assert first.json["stopped_by"] is None
    assert "they agree" in first.err
    second = program("run", source, destination, *flags)
    assert second.status == 0
    assert local.bill()["received"] == 5
    assert second.json["this_run"]["attempts"] == 0
    assert {key: second.json[key] for key in KEYS} == {key: first.json[key] for key in KEYS}


def test_limits_that_nobody_shares_are_told(program: Command, make_source: MakeSource, tmp_path: Path) -> None:
    """Once, with the flag that shares them."""
    flags = (*LOCAL, "--requests-per-minute", "6000", "--account-store", "none")
    told = program("run", make_source(2), tmp_path / "out", *flags)
    text = (
        "other processes do not share the account's limits; to share them, give --account-store (or TTS_ACCOUNT_STORE)"
    )
    assert (told.out + told.err).count(text) == 1
    again = program("run", make_source(2), tmp_path / "out", *flags)
    assert "do not share" not in again.out + again.err


def test_a_finished_job_needs_no_local_service(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is nothing to do, the local service is not started, so that there are no bills to compare."""
    source, destination = make_source(), tmp_path / "out"
    assert command("run", source, destination, *LOCAL).status == 0
    monkeypatch.delenv("TTS_LOCAL_URL")
    again = command("run", source, destination, *LOCAL)
    assert again.status == 0
    assert "own bill" not in again.err


def test_a_usage_error_is_2_and_prints_nothing_on_standard_output(program: Command, make_source: MakeSource) -> None:
    """What reads the JSON must not mistake an error for a result."""
    result = program("run", make_source(), "out", "--json", "--nonsense")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("tts-pipeline: ")


def test_a_run_that_is_refused_shows_no_progress(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """The error stands alone, even if the account store refuses the job after its rows are counted."""
    store, flags = ("--account-store", tmp_path / "account.db"), (*LOCAL, "--tag-column", "team=note")
    command("budget", "set", "radio", "1000", "characters", "--per", "ever", "--where", "team=radio", *store)
    result = command("run", make_source(), tmp_path / "out", *flags, *store)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("tts-pipeline: the budget 'radio' counts requests with the tag team=radio")
    assert result.err.count("\n") == 1


def test_rejects_are_3_and_the_summary_says_why(
    program: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """The run goes to its end; the summary names the code and shows one message."""
    local.set_faults([{"what": "refuse", "text": "number 1"}])
    result = program("run", make_source(), tmp_path / "out", *LOCAL)
    assert result.status == 3
    assert "3: 2 speech, 1 reject" in result.out
    assert "1 x DataInspectionFailed, for example:" in result.out


def test_a_fatal_answer_is_5_and_names_what_to_do(
    program: Command, command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """A run that the service stops still prints its JSON, and goes on when the trouble is over."""
    local.set_faults(
        [{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "Invalid API-key provided."}]
    )
    source, destination = make_source(), tmp_path / "out"
    result = program("run", source, destination, *LOCAL, "--json")
    assert result.status == 5
    assert result.json["stopped_by"] == "service"
    assert result.json["characters_upper_bound"] == 0
    assert "InvalidApiKey" in result.err
    local.clear_faults()
    assert command("run", source, destination, *LOCAL).status == 0


def test_too_many_rejects_are_5(command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path) -> None:
    """--max-rejects 0 stops at the first reject."""
    local.set_faults([{"what": "refuse"}])
    flags = (*LOCAL, "--max-rejects", "0", "--max-concurrency", "1", "--json", "--quiet")
    result = command("run", make_source(), tmp_path / "out", *flags)
    assert (result.status, result.json["stopped_by"]) == (5, "rejects")


def test_a_destination_that_cannot_be_is_6(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Storage that fails before anything is counted still gives JSON, in which null is not known."""
    (tmp_path / "file").write_text("no folder")
    result = command("run", make_source(), tmp_path / "file" / "out", *LOCAL, "--json")
    assert result.status == 6
    assert (result.json["stopped_by"], result.json["rows"]) == ("storage", None)
    assert sorted(result.json["this_run"]) == sorted(KEYS)
    assert local.bill()["received"] == 0


def test_ctrl_c_ends_in_good_order(
    make_source: MakeSource, emulator: StartEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is in flight is waited for no longer than the grace, and is on the bill as unknown."""
    local = emulator(voice_mode="tone")  # its own: hanging requests stay with a service
    monkeypatch.setenv("TTS_LOCAL_URL", local.url)
    local.set_faults([{"what": "slow", "delay_s": patience(60)}])
    destination = tmp_path / "out"
    argv = ["run", str(make_source(8)), str(destination), *LOCAL, "--max-concurrency", "4", "--json"]
    process = subprocess.Popen([*PROGRAM, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_for_requests(local, 4)
    began_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=patience(30))
    assert time.monotonic() - began_s < patience(20), "an answer takes 60 s"
    assert process.returncode == 130, err
    result = json.loads(out.splitlines()[-1])
    assert (result["stopped_by"], result["unknown_attempts"]) == ("interrupted", 4)
    assert "interrupted by SIGINT (run again" in err
    assert pq.read_table(destination / "usage", columns=["outcome"]).num_rows == 4


def test_a_terminal_gets_a_live_display(make_source: MakeSource, local: LocalService, tmp_path: Path) -> None:
    """On a terminal, standard error shows rows, what is in flight and the cost; standard output is not touched."""
    screen, terminal = pty.openpty()
    argv = ["run", str(make_source()), str(tmp_path / "out"), *LOCAL, "--json"]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([*PROGRAM, *argv], stdout=subprocess.PIPE, stderr=terminal, text=True, env=environ)
    os.close(terminal)
    screen_text = _read_all(screen)
    out, _ = process.communicate(timeout=patience(30))
    assert process.returncode == 0, screen_text
    assert len(out.splitlines()) == 1
    assert "3 of 3 rows" in screen_text
    assert "in flight" in screen_text
    assert "CNY" in screen_text


def test_a_summary_that_nobody_reads_does_not_fail_the_run(
    make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """A closed pipe does not change a run's status, 3 here: its result is on the disk."""
    local.set_faults([{"what": "refuse", "text": "number 1"}])
    reader, writer = os.pipe()
    os.close(reader)
    argv = ["run", str(make_source()), str(tmp_path / "out"), *LOCAL]
    result = subprocess.run(
        [*PROGRAM, *argv], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=patience(60), check=False
    )
    os.close(writer)
    assert result.returncode == 3
    assert "Broken" not in result.stderr


def test_quiet_shows_no_progress(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """With --quiet, standard error has the bills' comparison and nothing else."""
    result = command("run", make_source(), tmp_path / "out", *LOCAL, "--quiet")
    assert result.status == 0
    assert [line.split(":")[0] for line in result.err.splitlines()] == ["the local service's own bill for this run"]


def test_validate_says_what_would_be_done_and_does_nothing(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Rows, parts, model and the rows of each voice; no request, no file."""
    flags = (*LOCAL, "--column", "voice=speaker", "--part-rows", "2", "--set", "speed=1.0")
    result = command("validate", make_source(), tmp_path / "out", *flags, "--json")
    assert result.status == 0
    assert (result.json["rows"], result.json["parts"], result.json["parts_done"]) == (3, 2, 0)
    assert result.json["voices"] == {"Cherry": 2, "Stella": 1}
    assert result.json["parameters"] == {"speed": 1}
    summary = command("validate", make_source(), tmp_path / "out", *flags)
    assert "Cherry: 2, Stella: 1" in summary.out
    assert local.bill()["received"] == 0
    assert not (tmp_path / "out").exists()


def test_validate_refuses_what_run_refuses(command: Command, make_source: MakeSource, tmp_path: Path) -> None:
    """The same check, the same status."""
    result = command("validate", make_source(), tmp_path / "out", *LOCAL, "--voice", "Chery")
    assert result.status == 2
    assert "Did you mean 'Cherry'?" in result.err
    result = command("validate", make_source(), tmp_path / "out", *LOCAL, "--account-store", "mysql://host/database")
    assert result.status == 2
    assert "a PostgreSQL database, not mysql://..." in result.err


def test_validate_counts_what_is_done(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Before a second run it tells how much is left, and a voice for all rows needs no reading."""
    source, destination = make_source(), tmp_path / "out"
    flags = (*LOCAL, "--voice", "Cherry", "--part-rows", "2")
    assert command("run", source, destination, *flags).status == 0
    result = command("validate", source, destination, *flags, "--json")
    assert (result.json["parts"], result.json["parts_done"]) == (2, 2)
    assert result.json["voices"] == {"Cherry": 3}


def _wait_for_requests(service: LocalService, number: int) -> None:
    deadline = time.monotonic() + patience(30)
    while service.bill()["in_flight"] < number:
        if time.monotonic() > deadline:
            pytest.fail("the requests did not come")
        time.sleep(0.02)


def _read_all(descriptor: int) -> str:
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(descriptor, 65_536)
        except OSError:  # a terminal says so that its other end is closed
            piece = b""
        if not piece:
            os.close(descriptor)
            return b"".join(pieces).decode()
        pieces.append(piece)


def test_a_cap_ends_the_run_with_4_and_a_higher_one_goes_on(
    program: Command, command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """The message says what to do; nothing is lost, and the service charged no more than the cap."""
    source, destination = make_source(20), tmp_path / "out"
    result = program("run", source, destination, *LOCAL, "--max-cost", "0.0192 CNY", "--json")
    assert result.status == 4, result.err
    summary = result.json
    assert summary["stopped_by"] == "budget"
    assert 0.9 * 0.0192 < float(summary["cost_upper_bound"]) <= 0.0192
    assert "budget of 0.0192 CNY" in result.err
    assert "a higher --max-cost goes on from here" in result.err
    assert local.bill()["characters"] == summary["characters_billed"]
    assert command("run", source, destination, *LOCAL, "--max-cost", "1CNY").status == 0
    assert local.bill()["charged"] == 20


def test_a_list_price_on_a_gateway_is_told_once(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """However many rows there are; a price of one's own needs no warning."""
    catalog_file, prices = tmp_path / "mine.toml", tmp_path / "prices.toml"
    catalog_file.write_text(
        f'[services.gate]\nbase_url = "{local.url}"\nauth = "none"\n'
        '[[cards]]\nservice = "gate"\nmodel = "qwen3-tts-flash"\nlike = ["local/qwen3-tts-flash"]\n'
    )
    prices.write_text(
        '[prices.ours]\nservice = "gate"\nmodel = "qwen3-tts-flash"\ncurrency = "CNY"\nper_10k_characters = 1\n'
    )
    gate = ("--service", "gate", "--model", "qwen3-tts-flash", "--catalog", catalog_file)
    first = command("run", make_source(), tmp_path / "list", *gate)
    assert first.err.count("gate may charge otherwise") == 1
    own = command("run", make_source(), tmp_path / "own", *gate, "--prices", prices, "--json")
    assert "may charge otherwise" not in own.err
    usage = pq.read_table(tmp_path / "own" / "usage")
    assert (set(usage["price_id"].to_pylist()), set(usage["price_basis"].to_pylist())) == ({"ours"}, {"user"})
    assert own.json["cost"] == str(sum(usage["cost"].to_pylist()))
    assert json.loads((tmp_path / "own" / "dataset.json").read_text())["prices"][0]["per_10k_characters"] == "1"


def test_a_pilot_is_taken_into_the_full_job(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Its rows are not bought again, and the summary says how many and from where; what is no store is exit 2."""
    pilot, full = tmp_path / "pilot", tmp_path / "full"
    command("run", make_source(20), pilot, *LOCAL, "--limit", "5")
    result = command("run", make_source(20), full, *LOCAL, "--reuse", pilot)
    assert (result.status, local.bill()["charged"]) == (0, 20)
    assert "5 rows whose audio was not bought again" in result.out
    assert f"5 in this run from {pilot}" in result.out
    assert command("run", make_source(20), full, *LOCAL, "--reuse", pilot, "--json").json["reused"] == 5
    refusal = command("run", make_source(20), tmp_path / "new", *LOCAL, "--reuse", make_source(20).parent)
    assert refusal.status == 2
    assert "neither a dataset nor a reuse store" in refusal.err


def _progress() -> Progress:
    return Progress(totals=Totals(rows=1_000), done_before=100)


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither display."""
    with progress_shown(_progress(), quiet=True):
        pass
    assert capsys.readouterr() == ("", "")


def test_where_there_is_no_terminal_lines_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """No control characters in a log file."""
    with progress_shown(_progress(), quiet=False):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("100 of 1,000 rows")
    assert "\x1b" not in err


def test_planning_needs_no_http_stack() -> None:
    """The command loads without it: it is imported beside the planning, and no module of the planning needs it."""
    code = "import sys, tts_pipeline.cli.run; print(*{'aiohttp', 'httpx', 'tenacity', 'soundfile'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=patience(60))
    assert ran.stdout.strip() == ""
