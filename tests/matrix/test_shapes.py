"""Every shape of an answer that the local service knows, whole or broken, through the client: bytes, usage, codes."""

from __future__ import annotations

import pytest

from tests.matrix.trial import (
    AS_JSON,
    BOTH,
    GOOD,
    TEXT,
    UNREADABLE,
    UNREPORTED,
    UNUSABLE,
    Parameters,
    Rule,
    run_trial,
)
from tts_pipeline.attempt import Outcome
from tts_pipeline.config import Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.rules import SHAPES
from tts_pipeline.emulator.shapes import NEEDS_URL
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import (
    FatalError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.models import Usage


@BOTH
@pytest.mark.parametrize("shape", GOOD)
@pytest.mark.parametrize("rule", [{"what": "shape"}, {"what": "slow", "delay_s": 0.01}], ids=["at once", "slow"])
def test_every_shape_brings_the_audio_of_its_text(
    tone_service: LocalService, rule: Rule, shape: str, parameters: Parameters
) -> None:
    """The very bytes, whole, in one attempt, with the usage that the shape reports."""
    trial = run_trial(tone_service, parameters, {**rule, "shape": shape})
    assert trial.speech.audio.data == tone(TEXT)
    assert (trial.codes, trial.flags) == ([None], ())
    assert trial.speech.usage.characters_reported == (None if shape in UNREPORTED else len(TEXT))
    assert trial.speech.characters_billed == len(TEXT)
    assert trial.speech.usage.input_tokens == ({"openai_sse": len(TEXT)}.get(shape, 0 if shape[:3] == "ali" else None))


@BOTH
@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("shape", GOOD)
def test_a_service_that_redirects_brings_every_shape(
    tone_service: LocalService, shape: str, status: int, parameters: Parameters
) -> None:
    """The request is sent again to the same host; it is one attempt, and on the bill once."""
    trial = run_trial(
        tone_service, parameters, {"what": "redirect", "status": status}, {"what": "shape", "shape": shape}
    )
    assert trial.speech.audio.data == tone(TEXT)
    assert (trial.codes, trial.bill["charged"]) == ([None], 1)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_service_that_moved_is_told_at_once(tone_service: LocalService, status: int) -> None:
    """Nothing is bought there, and no audio is looked for at the address of the service."""
    trial = run_trial(tone_service, AS_JSON, {"what": "redirect", "status": status})
    assert isinstance(trial.result, FatalError)
    assert (trial.result.code, trial.settlements[0].characters_upper_bound) == ("Redirected", 0)


@BOTH
@pytest.mark.parametrize("wav_length", [0x7FFFFFBF, 0xFFFFFFFF, 0])
@pytest.mark.parametrize("shape", GOOD)
def test_a_header_that_lies_is_mended(
    tone_service: LocalService, shape: str, wav_length: int, parameters: Parameters
) -> None:
    """Whatever shape it comes in, what is kept is what a truthful service would have sent."""
    trial = run_trial(tone_service, parameters, {"what": "shape", "shape": shape, "wav_length": wav_length})
    assert trial.speech.audio.data == tone(TEXT)
    assert trial.codes == [None]


@BOTH
@pytest.mark.parametrize("shape", UNUSABLE)
def test_an_answer_without_audio_is_tried_again(tone_service: LocalService, shape: str, parameters: Parameters) -> None:
    """Never half a row: once, it costs an attempt; always, it is the row's transient error, and on the bill."""
    rule = {"what": "shape", "shape": shape}
    once = run_trial(tone_service, parameters, {**rule, "first": 1})
    assert once.speech.audio.data == tone(TEXT)
    assert once.codes == [UNUSABLE[shape], None]
    always = run_trial(tone_service, parameters, rule)
    assert isinstance(always.result, TransientError)
    assert (always.result.code, always.codes) == (UNUSABLE[shape], [UNUSABLE[shape]] * 2)


@pytest.mark.parametrize("shape", UNREADABLE)
def test_an_answer_that_nobody_can_read_is_bought_once(tone_service: LocalService, shape: str) -> None:
    """The row is a reject, with what it may have cost on the bill, and the keys of the answer in its message."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": shape})
    assert type(trial.result) is UnreadableError
    assert (trial.result.code, trial.codes) == ("UnreadableAudio", ["UnreadableAudio"])
    assert trial.settlements[0].characters_upper_bound == trial.bill["characters"] == len(TEXT)
    assert "JSON with the keys " in trial.result.message


def test_the_usage_of_a_failure_is_on_the_bill(tone_service: LocalService) -> None:
    """A 200 without audio tells the tokens it took: they are in the usage table, as what may be billed."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": "billed_failure"})
    assert trial.settlements[0].usage == Usage(None, len(TEXT), 50, len(TEXT) + 50)


WHOLE_WIRES = ("twice", "late", "half_late", "interim", "long_header", "trailers", "gzip", "deflate")
"""What may become of an answer on its way without harm."""
BROKEN_WIRES = {
    "broken_head": ["InvalidHttpAnswer"] * 2,
    "no_http": ["InvalidHttpAnswer"] * 2,
    "broken_chunk": ["InvalidHttpAnswer"] * 2,
    "gzip_cut": ["MalformedBody"] * 2,
    "gzip_twice": ["UnsupportedCoding"],
    "huge_head": ["HeadTooLarge"],
    "endless_interim": ["HeadTooLarge"],
    "endless_trailers": ["HeadTooLarge"],
}
"""How each attempt ends where an answer cannot be read."""
_WIRED = ("ali_data", "redirect", "raw", "ali_sse")


@pytest.mark.parametrize("wire", WHOLE_WIRES)
@pytest.mark.parametrize("shape", _WIRED)
def test_what_else_comes_on_a_connection_changes_nothing(tone_service: LocalService, shape: str, wire: str) -> None:
    """Answers sent twice, compressed, with long heads or trailers: the very bytes, in one attempt."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": shape, "wire": wire})
    assert (trial.speech.audio.data, trial.codes) == (tone(TEXT), [None])


@pytest.mark.parametrize("shape", ["ali_data", "raw"])
@pytest.mark.parametrize("wire", BROKEN_WIRES)
def test_an_answer_that_cannot_be_read_says_why(tone_service: LocalService, wire: str, shape: str) -> None:
    """Each has its own code; what would be the same again is bought once; and all of it may be billed."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": shape, "wire": wire})
    assert trial.codes == BROKEN_WIRES[wire]
    assert trial.settlements[0].characters_upper_bound == len(TEXT)


@pytest.mark.parametrize("wire", [*WHOLE_WIRES, *BROKEN_WIRES])
def test_a_fetch_is_read_as_an_answer_is(tone_service: LocalService, wire: str) -> None:
    """The same bounds and the same care where the audio is elsewhere."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": "ali_url", "fetch": wire})
    if wire in WHOLE_WIRES:
        assert (trial.speech.audio.data, trial.codes) == (tone(TEXT), [None])
    else:
        assert trial.codes in (["LostUrl"] * 2, BROKEN_WIRES[wire])


@pytest.mark.parametrize(
    "fields", [{"wire": "drip_head"}, {"wire": "drip_body"}, {"shape": "ali_url", "fetch": "drip_body"}]
)
def test_an_answer_that_drips_ends(tone_service: LocalService, fields: Rule) -> None:
    """Never silent and never over: the exchange has an end, and may be billed."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", **fields}, limits=Limits(max_attempts=1, timeout_s=0.04))
    assert trial.codes == ["LostUrl" if "fetch" in fields else "Timeout"]
    assert trial.settlements[0].characters_upper_bound == len(TEXT)


_CUTS = {
    "before the answer": {},
    "within": {"after_bytes": 40},
    "without a length": {"after_bytes": 40, "ends": "connection"},
    "near its end": {"after_bytes": -1},
}


@BOTH
@pytest.mark.parametrize("cut", _CUTS.values(), ids=_CUTS)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in UNREADABLE])
def test_an_answer_that_is_cut_is_never_half_a_row(
    tone_service: LocalService, shape: str, cut: Rule, parameters: Parameters
) -> None:
    """However little of it is missing: the attempt may be billed, and another brings the whole."""
    if cut.get("after_bytes") == -1:
        cut = {"after_bytes": len(tone(TEXT)) - 100}  # the end of raw bytes, the middle of base64
    trial = run_trial(tone_service, parameters, {"what": "cut", "shape": shape, "first": 1, **cut})
    assert trial.speech.audio.data == tone(TEXT)
    assert trial.flags == ()
    if trial.codes != [None]:
        first, last = trial.settlements
        assert (first.outcome, first.characters_billed) == (Outcome.FAILED, 0)
        assert first.characters_upper_bound == len(TEXT)
        assert last.outcome is Outcome.SUCCEEDED
    else:  # so short a body went out whole before the cut
        assert shape in NEEDS_URL - {"ali_sse"}
        assert cut


@BOTH
@pytest.mark.parametrize("shape", GOOD)
def test_a_body_without_a_length_is_judged_by_what_it_holds(
    tone_service: LocalService, shape: str, parameters: Parameters
) -> None:
    """Whole, it is the audio; no flag where JSON or the container says so."""
    trial = run_trial(tone_service, parameters, {"what": "shape", "shape": shape, "ends": "connection"})
    assert trial.speech.audio.data == tone(TEXT)
    assert (trial.codes, trial.flags) == ([None], ())
