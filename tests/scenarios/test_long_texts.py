"""Whole declarations in several languages, said in segments by the voice of this machine."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scenarios.conftest import RunJob, check_bill
from tts_pipeline.catalog import Service, load_catalog
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import AudioSettings, Limits
from tts_pipeline.emulator.billing import charged_characters
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.models import Speech, Utterance

DATA = Path(__file__).parents[3] / "shared" / "data" / "udhr-long.parquet"
MODEL = "qwen3-tts-instruct-flash"
PAUSE_MS = AudioSettings().pause_ms

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the declarations are not part of the project")


def _row(name: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = pq.read_table(DATA).to_pylist()
    return next(row for row in rows if row["id"] == name)


@pytest.mark.parametrize("name", ["cmn_hans-whole", "kor-whole", "por_BR-whole"])
def test_a_whole_declaration(espeak_service: LocalService, name: str) -> None:
    """As long as its segments and pauses; word times in order over the whole, each at its place; billed as counted."""
    row, log = _row(name), MemoryAttemptLog()
    parameters = {"voice": "Cherry", "language_type": row["language_type"], "enable_timestamp": True}
    utterance = Utterance(row["id"], row["text"], parameters)

    async def main() -> Speech:
        service = Service(base_url=espeak_service.url, name="local", auth="none")
        async with SpeechClient(service, load_catalog().card(service, MODEL), Limits()) as client:
            return await client.synthesize(utterance, log)

    speech = asyncio.run(main())
    history = log.history(utterance)
    segments = [history.answers[place] for place in range(speech.segments)]
    assert speech.segments == speech.attempts == len(history.answers) > 4
    assert speech.audio.duration_ms == pytest.approx(
        sum(segment.audio.duration_ms for segment in segments) + PAUSE_MS * (len(segments) - 1), abs=len(segments)
    )
    _check_words(speech)
    entries = espeak_service.bill(entries=True)["entries"]
    sent = "".join(entry["text"] for entry in entries)
    assert "".join(sent.split()) == "".join(row["text"].split()), "everything is sent, once, in order"
    assert sum(map(charged_characters, (entry["text"] for entry in entries))) == speech.characters_billed
    assert speech.characters_billed == speech.characters_counted == espeak_service.bill()["characters"]


def _check_words(speech: Speech) -> None:
    text, words = speech.utterance.text, speech.words or ()
    assert len(words) > 100
    assert all(0 <= word.start_ms <= word.end_ms <= speech.audio.duration_ms for word in words)
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(words))
    placed = [(word.text_start, word.text_end, word.text) for word in words]
    assert all(text[start:end] == word for start, end, word in placed)
    assert all(before[1] <= after[0] for before, after in pairwise(placed) if before[1] and after[0] is not None)
    assert words[-1].start_ms > speech.audio.duration_ms * 0.95, "the last words are those of the last segment"


def test_segments_that_are_paid_for_are_not_bought_again(
    tone_service: LocalService, run: RunJob, tmp_path: Path
) -> None:
    """A run that stops within a declaration goes on behind the last paid segment; the audio is as if it had not."""
    row = _row("kor-whole")
    table = pa.table({"id": ["r0"], "text": [row["text"]]})
    pq.write_table(table, tmp_path / "lines.parquet")
    whole = run(tone_service, model=MODEL, destination=tmp_path / "whole")
    segments = whole.report.dataset.attempts
    tone_service.reset_bill()
    tone_service.set_faults([{"what": "error", "status": 402, "code": "insufficient_balance", "after": 4}])
    stopped = run(tone_service, model=MODEL)
    assert (stopped.report.stopped_by, stopped.report.dataset.speech) == ("service", 0)
    tone_service.clear_faults()
    again = run(tone_service, model=MODEL)
    assert (again.report.stopped, again.report.this_run.attempts) == (None, segments - 4)
    assert tone_service.bill()["charged"] == segments
    assert again.table("usage").num_rows == segments + 1
    check_bill(again, tone_service)
    (speech,) = again.table("speech").to_pylist()
    (unbroken,) = pq.read_table(tmp_path / "whole" / "speech").to_pylist()
    assert speech["audio"]["bytes"] == unbroken["audio"]["bytes"]
    assert speech["attempts"] == segments + 1
