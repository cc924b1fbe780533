"""What a release wrote is read by every later one to the same result; see ``tests/golden/README.md``."""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import orjson
import pytest
from msgspec.structs import asdict

from tests.builders import job_of
from tests.conftest import StartEmulator
from tests.datasets import read_table
from tts_pipeline.cli import main
from tts_pipeline.config import QualityPolicy
from tts_pipeline.job import Job, run_job
from tts_pipeline.wal.frames import Frame, read_frames
from tts_pipeline.wal.journal import encode_frame
from tts_pipeline.wal.records import AnyRecord, JournalHeader, decode_record, encode_record
from tts_pipeline.wal.replay import Replay, replay_journal

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = [
    *("", "run", "demo", "estimate", "validate", "services", "models", "report", "export", "browse", "emulate"),
    *("account", "budget", "ledger", "reconcile", "completion"),
]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words help differently in each version")
@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_it_said(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A help text changes only with the command line itself."""
    monkeypatch.setenv("COLUMNS", "110")
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*filter(None, [command]), "--help"])
    assert text.getvalue() == (GOLDEN / "help" / f"{command or 'tts-pipeline'}.txt").read_text()


def test_a_journal_with_every_kind_of_record_is_read_to_its_torn_tail() -> None:
    """Attempts, answers, speech, rejects, what was discarded and what was lost are all known again."""
    journal = replay_journal(GOLDEN / "part-00001.journal")
    assert journal is not None
    facts = orjson.loads((GOLDEN / "journal.json").read_bytes())
    assert _without_additions(_plain(_facts(journal)), facts) == facts


def test_records_are_written_as_they_were() -> None:
    """Records that are read and framed again are the same bytes, up to the torn tail; the header may have more."""
    path = GOLDEN / "part-00001.journal"
    whole = path.read_bytes()
    with path.open("rb") as file:
        frames = [frame for frame in read_frames(path, file, check_payloads=True) if isinstance(frame, Frame)]
    header = orjson.loads(frames[0].record)
    header_again = orjson.loads(encode_record(msgspec.json.decode(frames[0].record, type=JournalHeader)))
    assert _without_additions(header_again, header) == header
    records = [decode_record(frame.record) for frame in frames[1:]]
    assert {type(record) for record in records} == set(get_args(AnyRecord))
    pieces = (
        encode_frame(encode_record(record), frame.blob.read())
        for record, frame in zip(records, frames[1:], strict=True)
    )
    again = b"".join(itertools.chain(*pieces))
    assert whole.startswith(again, frames[1].start)
    assert 0 < len(whole) - frames[1].start - len(again) < 400


def test_a_finished_dataset_is_finished(tmp_path: Path) -> None:
    """The same job finds nothing to do, changes no byte, and reports the same bill."""
    _copy(tmp_path, "finished")
    before = _contents(tmp_path / "out")
    report = run_job(_job(tmp_path))
    assert (report.stopped, report.this_run.attempts, report.dataset.speech) == (None, 0, 10)
    assert _contents(tmp_path / "out") == before
    _check_report(tmp_path / "out", "finished.json")


def test_a_dataset_of_a_dead_machine_is_gone_on_with(tmp_path: Path, emulator: StartEmulator) -> None:
    """What was answered is not bought again; what was in flight is on the bill as possible; the rest is said."""
    _copy(tmp_path, "interrupted")
    _check_report(tmp_path / "out", "interrupted.json")
    service = emulator(voice_mode="tone", tone_bytes=1_200)
    report = run_job(_job(tmp_path, service.url))
    assert (report.stopped, report.dataset.speech, report.dataset.rejects) == (None, 10, 2)
    assert [entry["text"] for entry in service.bill(entries=True)["entries"]] == ["Line 8."]
    sent = read_table(tmp_path / "out", "usage")["outcome"].to_pylist()
    assert (len(sent), sent.count("unknown")) == (17, 4)  # two were in flight, and the end of each journal is not known
    assert (
        read_table(tmp_path / "out", "speech")["utterance_id"].to_pylist()
        == read_table(GOLDEN / "finished", "speech")["utterance_id"].to_pylist()
    )


def _copy(folder: Path, name: str) -> None:
    shutil.copy(GOLDEN / "lines.parquet", folder)
    shutil.copytree(GOLDEN / name, folder / "out")


def _job(folder: Path, url: str = "http://127.0.0.1:9") -> Job:
    options = {
        "part_rows": 6,
        "work_dir": folder / "work",
        "quality": QualityPolicy(actions={"silent": "retry"}),
        "tags": {"team": "golden"},
        "tag_columns": {"speaker": "speaker"},
    }
    return job_of(folder, url, options=options)


def _check_report(destination: Path, name: str) -> None:
    """Check that a report says what it said; it may say more."""
    earlier, text = orjson.loads((GOLDEN / name).read_bytes()), io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["report", str(destination), "--by", "voice", "--by", "outcome", "--format", "json"]) == 0
    values = orjson.loads(text.getvalue())
    for part in values["open"]:
        del part["dataset"]  # where it was copied to
    assert _without_additions(values, earlier) == earlier


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.parts
    }


def _facts(journal: Replay) -> dict[str, Any]:
    return {
        "header": journal.header,
        "size_bytes": journal.size_bytes,
        "unread_bytes": journal.unread_bytes,
        "attempts": list(journal.attempts.values()),
        "lost": journal.unaccounted and asdict(journal.unaccounted),
        "utterances": {
            f"{utterance_id}:{take}": {
                "attempts": record.attempts,
                "boundaries": record.boundaries,
                "answers": {
                    str(number): [values, len(blob.read())] for number, (values, blob) in record.answers.items()
                },
                "speech": record.speech,
                "audio_bytes": record.audio and len(record.audio.read()),
                "reject": record.reject,
            }
            for (utterance_id, take), record in journal.utterances.items()
        },
    }


def _without_additions(values: Any, earlier: Any) -> Any:
    """Return values without the fields that an earlier version did not write."""
    if isinstance(values, dict) and isinstance(earlier, dict):
        return {name: _without_additions(value, earlier[name]) for name, value in values.items() if name in earlier}
    if isinstance(values, list) and isinstance(earlier, list) and len(values) == len(earlier):
        return [_without_additions(*pair) for pair in zip(values, earlier, strict=True)]
    return values


def _plain(value: Any) -> Any:
    return orjson.loads(encode_record({"value": value}))["value"]
