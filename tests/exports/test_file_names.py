"""File names made of ids."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.exports.file_names import (
    MAX_COMPONENT_BYTES,
    MAX_NAME_BYTES,
    canonical_name,
    check_fields,
    parse_template,
)

USUAL = parse_template("{utterance_id}.{ext}")


def name_of(utterance_id: str, template: str = "{utterance_id}.{ext}", **values: object) -> str:
    """Return the name of a row that no other row wants."""
    file_name = parse_template(template).file_name({"utterance_id": utterance_id, "take": 0, "ext": "wav", **values})
    return file_name.render(is_taken=False)


@pytest.mark.parametrize(
    "plain", ["u1", "LJ001-0001", "a.b-c_d e", "日本語", "café", "0", "a~b", "com", "CONSOLE", "a~12"]
)
def test_ids_that_are_names_stay_as_they_are(plain: str) -> None:
    """Nothing is done to what every disk takes."""
    assert name_of(plain) == f"{plain}.wav"


@pytest.mark.parametrize(
    ("utterance_id", "stem"),
    [
        ("../../etc/passwd", "_.._.._etc_passwd"),
        ("/root", "_root"),
        ("C:\\Windows\\x", "C__Windows_x"),
        ("a/b", "a_b"),
        ("..", "__"),
        (".hidden", "_hidden"),
        ("dot.", "dot_"),
        ("space ", "space_"),
        (" space", "_space"),
        ("", "_"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1", "_com1"),
        ("LPT³", "_LPT³"),
        ("aux .x", "_aux .x"),
        ('<a>:"b"|?*', "_a___b____"),
        ("a\x00b\nc\x7f", "a_b_c_"),
        ("a\u202egnp.exe", "a_gnp.exe"),
        ("zero\u200bwidth", "zero_width"),
        ("line\u2028separator", "line_separator"),
        ("e\u0301", "é"),
        ("looks~0123456789abcdef", "looks~0123456789abcdef"),
    ],
)
def test_other_ids_become_names_with_a_mark(utterance_id: str, stem: str) -> None:
    """What a disk, a shell or an eye would take otherwise is replaced, and the mark says which id it was."""
    name = name_of(utterance_id)
    match = re.fullmatch(r"(.*)~[0-9a-f]{16}\.wav", name, re.DOTALL)
    assert match is not None, name
    if utterance_id.startswith("../"):
        assert "/" not in name
        assert name.startswith("_")
    else:
        assert match[1] == stem


@given(st.text(max_size=400), st.text(max_size=20))
def test_every_name_lies_in_the_destination_on_any_disk(utterance_id: str, voice: str) -> None:
    """Relative, of two parts, short enough, in NFC, and without anything that Windows refuses."""
    name = name_of(utterance_id, "{voice}/{utterance_id}.{ext}", voice=voice)
    assert len(PurePosixPath(name).parts) == len(PureWindowsPath(name).parts) == 2
    assert not PurePosixPath(name).is_absolute()
    assert not PureWindowsPath(name).drive
    assert not PureWindowsPath(name).is_reserved()
    assert unicodedata.normalize("NFC", name) == name
    assert name.endswith(".wav")
    for part in name.split("/"):
        assert part not in {"", ".", ".."}
        assert len(part.encode()) <= MAX_COMPONENT_BYTES
        assert part == part.strip(". ")
        assert not {character for character in part if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}}
    assert len(name.encode()) <= MAX_NAME_BYTES


@given(st.text(max_size=30), st.text(max_size=30))
def test_different_ids_have_different_names(first: str, other: str) -> None:
    """But for those that differ only in what some disk does not tell apart, which is found over the whole dataset."""
    if first != other and canonical_name(first) != canonical_name(other):
        assert canonical_name(name_of(first)) != canonical_name(name_of(other))


def test_a_long_id_is_cut_between_characters_and_keeps_its_extension() -> None:
    """Two that begin alike stay two."""
    first, other = name_of("長" * 300 + "1"), name_of("長" * 300 + "2")
    assert first != other
    assert first.endswith(".wav")
    assert first.startswith("長" * 50)
    assert len(first.encode()) <= MAX_COMPONENT_BYTES


def test_takes_have_marks_of_their_own() -> None:
    """The same id in two takes is two files."""
    marks = {
        USUAL.file_name({"utterance_id": "u", "take": take, "ext": "wav"}).render(is_taken=True) for take in (0, 1)
    }
    assert len(marks) == 2


def test_columns_make_folders_and_values_do_not() -> None:
    """A slash of the template divides, a slash of a value is replaced; null has a name; numbers can be padded."""
    template = "{voice}/{take:03d}-{utterance_id}.{ext}"
    assert name_of("u", template, voice="Cherry") == "Cherry/000-u.wav"
    assert name_of("u", template, voice=None) == "_/000-u.wav"
    assert re.fullmatch(r"a_b/000-u~[0-9a-f]{16}\.wav", name_of("u", template, voice="a/b"))


@pytest.mark.parametrize("utterance_id", ["index.parquet", "export.json", "train_manifest.json"])
def test_nothing_has_the_name_of_an_index_or_a_manifest(utterance_id: str) -> None:
    """Beside the audio stand files of the export's own."""
    assert name_of(utterance_id, "{utterance_id}") != utterance_id


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("../{utterance_id}", "below the destination"),
        ("/{utterance_id}", "below the destination"),
        ("a//{utterance_id}", "below the destination"),
        ("", "below the destination"),
        ("{utterance_id.__class__}", "not a plain column"),
        ("{utterance_id[0]}", "not a plain column"),
        ("{utterance_id!r}", "not a plain column"),
        ("{}", "not a plain column"),
        ("{take:{ext}}", "not a plain column"),
        ("{utterance_id", "expected '}'"),
    ],
)
def test_templates_that_cannot_be_used_are_told(template: str, message: str) -> None:
    """With what is wrong and how one looks."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        parse_template(template)


def test_a_field_that_is_not_there_is_told_with_the_nearest() -> None:
    """And with all there are."""
    with pytest.raises(ConfigurationError, match=r"Did you mean 'voice'.*The fields are ext, voice"):
        check_fields(parse_template("{vioce}.{ext}"), ["ext", "voice"])


def test_a_value_that_does_not_go_with_its_specification_is_told() -> None:
    """Text has no digits to pad."""
    with pytest.raises(ConfigurationError, match="'Cherry' cannot be formatted as '03d'"):
        name_of("u", "{voice:03d}.{ext}", voice="Cherry")


@pytest.mark.parametrize(("first", "other"), [("A", "a"), ("ß", "SS"), ("é", "e\u0301"), ("ﬁ", "fi")])
def test_what_some_disk_takes_for_one_name_is_one(first: str, other: str) -> None:
    """Case, Unicode's ways of writing one letter, ligatures."""
    assert canonical_name(first) == canonical_name(other)
