"""Reading the frames of a journal file yields whole frames and gaps, but not a torn tail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tts_pipeline.wal.frames import Frame, Gap, read_frames
from tts_pipeline.wal.journal import encode_frame

RECORDS = [(b'{"kind":"one"}', b""), (b'{"kind":"two"}', b"payload"), (b'{"kind":"three"}', b"")]


def _write(path: Path, *, damage: int | None = None, length: int | None = None, tail: bytes = b"") -> list[int]:
    """Write the records as a journal does, with one byte changed; return the end of each frame."""
    pieces = [b"".join(encode_frame(*record)) for record in RECORDS]
    data = bytearray(b"".join(pieces)[:length] + tail)
    if damage is not None:
        data[damage] ^= 1
    path.write_bytes(data)
    return [sum(map(len, pieces[: number + 1])) for number in range(len(pieces))]


def _read(path: Path, *, check_payloads: bool = True) -> list[Frame | Gap]:
    with path.open("rb") as file:
        return list(read_frames(path, file, check_payloads=check_payloads))


@pytest.mark.parametrize("check_payloads", [True, False])
def test_what_was_written_is_read_in_order(tmp_path: Path, check_payloads: bool) -> None:
    """Each record is read with its offset and its payload."""
    ends = _write(tmp_path / "j")
    frames = [frame for frame in _read(tmp_path / "j", check_payloads=check_payloads) if isinstance(frame, Frame)]
    assert [(frame.record, frame.blob.read()) for frame in frames] == RECORDS
    assert [(frame.start, frame.end) for frame in frames] == list(zip([0, *ends], ends, strict=False))
    assert all(frame.is_payload_intact for frame in frames)


def test_a_damaged_record_is_a_gap_and_what_stands_behind_it_is_read(tmp_path: Path) -> None:
    """The gap is as long as the hidden frame."""
    first_end, second_end, _ = _write(tmp_path / "j")
    _write(tmp_path / "j", damage=first_end + 20)
    first, gap, third = _read(tmp_path / "j")
    assert gap == Gap(first_end, second_end)
    assert isinstance(first, Frame)
    assert isinstance(third, Frame)
    assert (first.record, third.record) == (RECORDS[0][0], RECORDS[2][0])


def test_a_damaged_payload_leaves_its_record(tmp_path: Path) -> None:
    """The attempt is known; only its audio is ignored."""
    _, second_end, _ = _write(tmp_path / "j")
    _write(tmp_path / "j", damage=second_end - 1)
    intact = [frame.is_payload_intact for frame in _read(tmp_path / "j") if isinstance(frame, Frame)]
    assert intact == [True, False, True]


@pytest.mark.parametrize("zeros", [0, 1, 5_000])
def test_a_torn_tail_is_no_gap_wherever_it_was_torn(tmp_path: Path, zeros: int) -> None:
    """A kill, or a power cut with its zeros, leaves a torn tail; zeros in place of a payload are no payload."""
    first_end, second_end, _ = _write(tmp_path / "j")
    for length in range(first_end + 1, second_end):
        _write(tmp_path / "j", length=length, tail=bytes(zeros))
        first, *torn = [frame for frame in _read(tmp_path / "j") if isinstance(frame, Frame)]
        assert (first.end, first.is_payload_intact) == (first_end, True)
        assert [frame.is_payload_intact for frame in torn] in ([], [False])
        assert len(_read(tmp_path / "j")) == 1 + len(torn)


def test_a_tail_that_nothing_of_ours_wrote_is_a_gap(tmp_path: Path) -> None:
    """Such a tail may hide records that were whole."""
    *_, end = _write(tmp_path / "j")
    _write(tmp_path / "j", tail=b"garbage" * 20)
    assert _read(tmp_path / "j")[-1] == Gap(end, end + 140)


_LONG = 300_000
"""Bytes of a record or payload that no single read holds."""


@pytest.mark.parametrize("damaged", [None, 2, 5])
@pytest.mark.parametrize("payload_bytes", [0, 20_000, _LONG])
@pytest.mark.parametrize("long_record", [None, 3])
def test_skipped_payloads_hide_no_record(
    tmp_path: Path, payload_bytes: int, long_record: int | None, damaged: int | None
) -> None:
    """Records of any length, behind payloads of any length, are read whether payloads are checked or skipped."""
    records = [(b'{"kind":"%d"%s}' % (n, b" " * (_LONG * (n == long_record))), bytes(payload_bytes)) for n in range(40)]
    pieces = [b"".join(encode_frame(*record)) for record in records]
    data = bytearray(b"".join(pieces))
    if damaged is not None:
        data[sum(map(len, pieces[:damaged])) + 20] ^= 1
    (tmp_path / "j").write_bytes(data)
    frames = _read(tmp_path / "j", check_payloads=False)
    assert frames == _read(tmp_path / "j")
    kept = [record for number, (record, _) in enumerate(records) if number != damaged]
    assert [frame.record for frame in frames if isinstance(frame, Frame)] == kept
    assert len(frames) == len(records)
