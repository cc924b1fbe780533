"""One pass over rows: what it counts is what a run sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import STUDIO, build_request, narrator
from tts_pipeline.card import Card
from tts_pipeline.catalog.checks import check_parameters, language_tag
from tts_pipeline.config import MAX_TEXT_CHARACTERS, QualityPolicy
from tts_pipeline.errors import PermanentError
from tts_pipeline.estimates.audio_locator import AudioLocator
from tts_pipeline.estimates.input_rows import FrameRows
from tts_pipeline.estimates.purchase_counter import PurchaseCounter
from tts_pipeline.estimates.result import VoiceTotals
from tts_pipeline.estimates.row_parameters import check_row_parameters
from tts_pipeline.estimates.speaking_time import speaking_time_s
from tts_pipeline.estimates.tally import MANY_ROWS, REQUEST_DTYPE, Counts, distinct_totals, tally
from tts_pipeline.models import ParameterValue, Segment
from tts_pipeline.storage.hash_partitions import HashPartitions
from tts_pipeline.text import billed_characters, segment_text

SPACES = "".join(chr(point) for point in range(0x110000) if chr(point).isspace())
PIECES = st.sampled_from(["a", "Bc.", " ", "漢", "字。", "é", "e\u0301", "\U00020000", "カ", "\x1c", "\u200b", "1.5 "])
TEXTS = st.none() | st.lists(PIECES, max_size=40).map("".join) | st.text(st.sampled_from(SPACES), max_size=3)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": TEXTS,
            "voice": st.sampled_from(["anna", "bert", None]),
            "language": st.sampled_from(["de", "German", "Auto", None]),
            "stream": st.booleans() | st.none(),
            "take": st.sampled_from([0, 1, None]),
        }
    ),
    max_size=30,
)
SCHEMA = {"text": pl.String, "voice": pl.String, "language": pl.String, "stream": pl.Boolean, "take": pl.Int64}


def _empty_locator(model: Card) -> AudioLocator:
    return AudioLocator((), QualityPolicy(), STUDIO, model)


def _tally(
    rows: Sequence[Mapping[str, Any]] | pl.DataFrame,
    model: Card,
    *,
    max_cut_texts: int = 1_000,
    **fixed: ParameterValue,
) -> Counts:
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, schema=SCHEMA)
    columns = {name: name for name in frame.columns if name != "text"}
    input_rows = FrameRows(frame.lazy())
    parameters = check_row_parameters(input_rows, model, fixed, columns, ())
    counter = PurchaseCounter(parameters, _empty_locator(model), max_cut_texts)
    with HashPartitions(Path("unused"), REQUEST_DTYPE) as distinct_requests:
        return tally(input_rows, "text", counter, distinct_requests)


def _cut(text: str | None, model: Card, sent: Mapping[str, ParameterValue]) -> tuple[Segment, ...] | str:
    try:
        return segment_text(text or "", model, language=language_tag(model, sent))
    except PermanentError as error:
        return error.code


@pytest.mark.parametrize("billing", ["han_double", "characters", "tokens"])
@pytest.mark.parametrize(("unit", "limit"), [("characters", 12), ("bytes", 20), ("tokens", 2), ("characters", None)])
@settings(max_examples=20)
@given(rows=ROWS)
def test_it_counts_what_would_be_sent(
    billing: Any, unit: Any, limit: int | None, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Row by row with the run's own functions: the same rows without text, repeats, segments and characters."""
    model = narrator(billing=billing, input_unit=unit, input_limit=limit)
    requests: dict[tuple[str, int], tuple[Segment, ...]] = {}
    refused, sendable = [], 0
    for row in rows:
        given_ones = {name: row[name] for name in ("voice", "language", "stream") if row[name] is not None}
        sent = check_parameters(model, {"voice": "anna", **given_ones})
        pieces = _cut(row["text"], model, sent)
        if isinstance(pieces, str):
            refused.append(pieces)
            continue
        key = build_request(STUDIO, model, row["text"], sent).request_key
        requests[key, row["take"] or 0] = pieces
        sendable += 1
    counts = _tally(rows, model, voice="anna")
    assert counts.rows == len(rows)
    assert counts.rows_without_text == refused.count("EmptyText")
    assert counts.rows_too_long == refused.count("TextTooLong")
    assert counts.repeated_rows == sendable - len(requests)
    assert counts.segments == sum(len(pieces) for pieces in requests.values())
    assert counts.characters_billed == sum(
        billed_characters(piece.text, billing) for pieces in requests.values() for piece in pieces
    )
    assert sum(totals.rows for totals in counts.spoken) == sendable


def test_white_space_is_what_it_is_to_python() -> None:
    """All of it, and nothing that only Unicode or Polars takes for white space."""
    points = [chr(point) for point in range(0x3100)] + ["\ufeff", "\U000e0020"]
    counts = _tally(pl.DataFrame({"text": points}), narrator())
    assert counts.rows_without_text == sum(point.isspace() for point in points)


def test_hours_are_by_language_and_voice() -> None:
    """With the pace of the language, of the script where none is given, and the speed that is asked for."""
    frame = pl.DataFrame(
        {
            "text": ["ab cd", "ab cd", "漢字", "漢字 a", "かな", "ab"],
            "voice": ["anna", "anna", "bert", None, "anna", "anna"],
            "language": ["en", "English", None, "Auto", None, "de"],
            "speed": [1.0, 2.0, None, None, None, None],
        }
    )
    spoken = {(totals.language, totals.voice): totals for totals in _tally(frame, narrator()).spoken}
    hours = {key: totals.audio_hours * 3_600 for key, totals in spoken.items()}
    assert hours == {
        ("en", "anna"): pytest.approx(speaking_time_s(4, 0, "en") * 1.5),
        (None, "bert"): pytest.approx(speaking_time_s(0, 2, "zh")),
        (None, None): pytest.approx(speaking_time_s(1, 2, "zh")),
        (None, "anna"): pytest.approx(speaking_time_s(2, 0, "ja")),
        ("de", "anna"): pytest.approx(speaking_time_s(2, 0, "de")),
    }
    assert spoken["en", "anna"].rows == 2


def test_digits_are_heard_as_words() -> None:
    """Also where there are so many rows that a sample tells, which does not depend on how voices take turns."""
    few = _tally(pl.DataFrame({"text": ["Page 1234."]}), narrator()).spoken[0].audio_hours
    assert few * 3_600 == pytest.approx(speaking_time_s(9, 0, None, digits=4))
    turns = pl.DataFrame({"text": ["Page 1234."] * MANY_ROWS, "voice": ["anna", "bert"] * (MANY_ROWS // 2)})
    for totals in _tally(turns, narrator()).spoken:
        assert totals.audio_hours == pytest.approx(few * MANY_ROWS / 2, rel=0.05)


def test_repeated_rows_are_heard_each_time() -> None:
    """They are bought once, but a dataset holds them all."""
    counts = _tally(pl.DataFrame({"text": ["ab", "ab", "ab"]}), narrator())
    assert (counts.repeated_rows, counts.segments, counts.characters_billed) == (2, 1, 2)
    assert counts.spoken == (VoiceTotals(None, None, 3, speaking_time_s(6, 0, None) / 3_600),)


def test_beyond_many_long_texts_the_others_are_taken_to_be_alike() -> None:
    """Cutting takes time; what was cut says how the rest will be."""
    texts = ["Some words. " * number for number in range(100, 160)]
    exact, guessed = (
        _tally(pl.DataFrame({"text": texts}), narrator(input_limit=60), max_cut_texts=n) for n in (1_000, 10)
    )
    assert (exact.long_texts, exact.cut_texts, guessed.long_texts, guessed.cut_texts) == (60, 60, 60, 10)
    assert guessed.segments == pytest.approx(exact.segments, rel=0.03)
    assert guessed.characters_billed == pytest.approx(exact.characters_billed, rel=0.03)


def test_no_rows_are_an_estimate_too() -> None:
    """Of nothing."""
    counts = _tally([], narrator())
    assert (counts.rows, counts.segments, counts.spoken) == (0, 0, ())


def test_texts_without_anything_to_say_are_counted() -> None:
    """By themselves, and as a run judges them: they are not sent, nor are texts that are too long for any model."""
    texts = ["Hello.", "...", "😀", "<break/>", "<b>bold</b>", "%", "", None, "a" * (MAX_TEXT_CHARACTERS + 1), "ㅤ"]
    lines = FrameRows(pl.LazyFrame({"text": texts}))
    for model in (narrator(), narrator(input_limit=None)):
        purchases = PurchaseCounter(
            check_row_parameters(lines, model, {}, {}, ()), _empty_locator(model), keeps_unspeakable=False
        )
        with HashPartitions(Path("unused"), REQUEST_DTYPE) as repeats:
            counts = tally(lines, "text", purchases, repeats)
        assert (counts.rows, counts.rows_without_text, counts.rows_unspeakable, counts.rows_too_long) == (10, 2, 4, 1)
        assert counts.segments == 3


KEYS = st.integers(0, 5) | st.integers(2**64 - 70, 2**64 - 1) | st.integers(0, 2**64 - 1)


def _requests(keys: list[int]) -> Any:
    """Equal keys are equal requests, so that what they come to follows from the key."""
    return np.array([(key, key % 97, 1 + key % 3) for key in keys], dtype=REQUEST_DTYPE)


def _expected(keys: list[int]) -> tuple[int, int, int]:
    distinct = set(keys)
    return len(distinct), sum(key % 97 for key in distinct), sum(1 + key % 3 for key in distinct)


@given(batches=st.lists(st.lists(KEYS, max_size=20), max_size=10), memory_records=st.integers(1, 60))
def test_each_is_counted_once(batches: list[list[int]], memory_records: int) -> None:
    """However many fit into memory, and in whichever batches they come."""
    with TemporaryDirectory() as scratch, HashPartitions(Path(scratch), REQUEST_DTYPE, memory_records) as requests:
        for keys in batches:
            requests.add(_requests(keys))
        assert distinct_totals(requests) == _expected([key for keys in batches for key in keys])


def test_sums_do_not_overflow() -> None:
    """A record holds 32 bits, their sum does not."""
    most = 2**32 - 1
    with HashPartitions(None, REQUEST_DTYPE) as requests:
        requests.add(np.array([(key, most, most) for key in range(3)], dtype=REQUEST_DTYPE))
        assert distinct_totals(requests) == (3, 3 * most, 3 * most)
