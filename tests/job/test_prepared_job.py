"""The prepared job reads the rows of its parts."""

from __future__ import annotations

from pathlib import Path

from tests.builders import job_of, write_lines
from tts_pipeline.config import InputColumns, Selection
from tts_pipeline.job.prepare import prepare
from tts_pipeline.source.row_reader import RowReader


def test_a_part_is_read_with_its_names_and_voices(tmp_path: Path) -> None:
    """Whole rows of the selection, in order; generated ids name the file and the row of the source."""
    write_lines(tmp_path / "lines.parquet", speaker=["Stella", None] * 10)
    columns = InputColumns(generate_ids=True, parameters={"voice": "speaker"})
    prepared = prepare(job_of(tmp_path, columns=columns, selection=Selection(sample=10, seed=3)))
    rows = prepared.read_part(RowReader(prepared.source), 1)
    places = [int(utterance_id.removeprefix("lines:")) for utterance_id, _ in rows.keys]
    assert places == list(prepared.row_indices)[5:]
    assert [utterance.text for utterance in rows.utterances] == [f"Line {place}." for place in places]
    assert [utterance.voice for utterance in rows.utterances] == [
        ("Cherry", "Stella")[place % 2 == 0] for place in places
    ]
    assert rows.inputs.schema.names == ["id", "text", "speaker"]
