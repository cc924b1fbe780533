"""Divide utterances into splits (train, validation) by their ids alone."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from tts_pipeline.errors import ConfigurationError

DEFAULT_SPLIT = "train"
"""The split of all rows of an export without splits: the name that Hugging Face gives undivided data."""

_HASHES = 2**64
_HINT = "give shares such as train=0.98,validation=0.02, which add up to 1 at most"


@dataclass(frozen=True, slots=True)
class Splits:
    """Shares of the utterances, by name, in the order in which they divide the hashes.

    An utterance's hash is the first 64 bits of the SHA-256 of its id. The utterance is in the first split whose bound
    is above its hash, so that it stays there when the dataset grows, is filtered or is rebuilt, and all takes of one
    id stay together.

    ``bounds`` maps each name to the first hash beyond its split, ascending.
    """

    bounds: Mapping[str, int]

    def of(self, utterance_id: str) -> str | None:
        """Return the split of an utterance; None if the shares leave it out."""
        hash_value = int.from_bytes(hashlib.sha256(utterance_id.encode()).digest()[:8], "big")
        return next((name for name, bound in self.bounds.items() if hash_value < bound), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all splits, in order."""
        return tuple(self.bounds)


def parse_splits(shares: str | Mapping[str, float] | None) -> Splits:
    """Parse shares, as text (``train=0.98,validation=0.02``) or by name; None is one split of all rows."""
    if shares is None:
        return Splits({DEFAULT_SPLIT: _HASHES})
    pairs = _parse_pairs(shares) if isinstance(shares, str) else [(name, str(share)) for name, share in shares.items()]
    bounds: dict[str, int] = {}
    upper = Fraction(0)
    for name, text in pairs:
        upper += _parse_share(name, text)
        # datasets 5.2 allows words only and reserves "all" for all splits; and a split is part of file names, where
        # some disks take train and Train for the same name.
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
