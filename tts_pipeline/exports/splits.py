"""Splits (train, validation): an utterance's split depends on its id alone."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from tts_pipeline.errors import ConfigurationError

DEFAULT_SPLIT = "train"
"""The split of everything where none was asked for: what Hugging Face calls data that is not divided."""

_HASHES = 2**64
_HINT = "write train=0.98,validation=0.02; the shares add up to 1 at most"


@dataclass(frozen=True, slots=True)
class Splits:
    """Shares of the utterances, by name, in the order in which they divide the hashes.

    An utterance's hash is the first 64 bits of the SHA-256 of its id, as a share of 2**64. It is in the first split
    below whose upper bound its hash is, so that it stays there when the dataset grows, is filtered or is made anew,
    and all takes of one text stay together.

    ``bounds`` are name -> the first hash beyond it, ascending.
    """

    bounds: Mapping[str, int]

    def of(self, utterance_id: str) -> str | None:
        """Return the split of an utterance; None where the shares leave it out."""
        hash_value = int.from_bytes(hashlib.sha256(utterance_id.encode()).digest()[:8], "big")
        return next((name for name, bound in self.bounds.items() if hash_value < bound), None)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in order."""
        return tuple(self.bounds)


def parse_splits(shares: str | Mapping[str, float] | None) -> Splits:
    """Read shares as they are given: ``train=0.98,validation=0.02``, or by name; None is one split of everything."""
    if shares is None:
        return Splits({DEFAULT_SPLIT: _HASHES})
    pairs = _parse_pairs(shares) if isinstance(shares, str) else [(name, str(share)) for name, share in shares.items()]
    bounds: dict[str, int] = {}
    upper = Fraction(0)
    for name, text in pairs:
        upper += _parse_share(name, text)
        # datasets 5.2 takes words only, has "all" stand for all splits, and a split is a part of file names: some
        # disks take train and Train for one.
        used_names = {"all", *(known.lower() for known in bounds)}
        if not re.fullmatch(r"[A-Za-z0-9_]+", name) or name.lower() in used_names:
            raise ConfigurationError(f"a split cannot be named {name!r}", hint="use a word, once, other than 'all'")
        bounds[name] = math.ceil(upper * _HASHES)
    if not bounds or upper > 1:
        raise ConfigurationError(f"the splits {shares!r} add up to {float(upper):g}", hint=_HINT)
    return Splits(bounds)


def _parse_pairs(text: str) -> list[tuple[str, str]]:
    halves = [part.partition("=") for part in text.split(",")]
    return [(name.strip(), share.strip()) for name, _, share in halves]


def _parse_share(name: str, text: str) -> Fraction:
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise ConfigurationError(f"the share of the split {name!r} is {text!r}", hint=_HINT)
    return share
