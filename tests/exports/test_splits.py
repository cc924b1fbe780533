"""Which split an utterance is in."""

from __future__ import annotations

import hashlib
import re

import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.exports.splits import parse_splits

IDS = [f"u{number}" for number in range(20_000)]


def test_a_split_is_a_function_of_the_id_for_ever() -> None:
    """The rule as it is published, computed by hand."""
    splits = parse_splits("train=0.9,validation=0.1")
    for utterance_id in IDS[:200]:
        place = int(hashlib.sha256(utterance_id.encode()).hexdigest()[:16], 16) / 2**64
        assert splits.of(utterance_id) == ("train" if place < 0.9 else "validation")


def test_these_ids_stay_where_they_are() -> None:
    """Written down: a change of the rule would mix what was trained on with what is validated on."""
    splits = parse_splits("train=0.5,validation=0.5")
    names = [splits.of(name) for name in ("u0", "u1", "u2", "u3", "日本語", "")]
    assert names == ["validation", "validation", "train", "train", "train", "validation"]


def test_shares_are_met() -> None:
    """Within what chance allows; where they add up to less than 1, the rest is left out."""
    splits = parse_splits("train=0.8,validation=0.1")
    names = [splits.of(utterance_id) for utterance_id in IDS]
    assert names.count("train") == pytest.approx(16_000, abs=300)
    assert names.count("validation") == pytest.approx(2_000, abs=200)
    assert names.count(None) == pytest.approx(2_000, abs=200)


def test_a_greater_first_share_moves_nobody_out_of_it() -> None:
    """Only the boundary moves."""
    less, more = parse_splits("train=0.8,test=0.2"), parse_splits("train=0.9,test=0.1")
    assert all(more.of(name) == "train" for name in IDS[:2_000] if less.of(name) == "train")


def test_without_shares_everything_is_one_split() -> None:
    """The one that Hugging Face gives data that is not divided."""
    splits = parse_splits(None)
    assert splits.names == ("train",)
    assert {splits.of(name) for name in IDS[:100]} == {"train"}


def test_a_mapping_is_the_same_as_text() -> None:
    """From Python; tenths add up to 1 exactly."""
    text = ",".join(f"s{number}=0.1" for number in range(10))
    assert parse_splits({f"s{number}": 0.1 for number in range(10)}) == parse_splits(text)
    assert None not in {parse_splits(text).of(name) for name in IDS[:1_000]}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ("train", "the share of the split 'train' is ''"),
        ("train=x", "is 'x'"),
        ("train=0", "is '0'"),
        ("train=-0.1,test=0.5", "is '-0.1'"),
        ("train=0.9,test=0.2", "add up to 1.1"),
        ("train=0.5,train=0.5", "cannot be named 'train'"),
        ("train=0.5,Train=0.5", "cannot be named 'Train'"),
        ("all=0.5,test=0.5", "cannot be named 'all'"),
        ("a/b=0.5", "cannot be named 'a/b'"),
        ("=0.5", "cannot be named ''"),
        ("", "the share of the split '' is ''"),
        ({}, "add up to 0"),
        ("a=1/0", "is '1/0'"),
    ],
)
def test_shares_that_are_none_are_told(shares: object, message: str) -> None:
    """With how they are written."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        parse_splits(shares)  # type: ignore[arg-type]  # as a caller may get it wrong
