"""Bodies that come compressed though nobody asked."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tts_pipeline.errors import TransientError, UnreadableError
from tts_pipeline.wire.content_decoder import ContentDecoder

TEXT = bytes(range(256)) * 9


def decode_body(codings: str, data: bytes, step: int = 1_000_000) -> bytes:
    inflation = ContentDecoder(codings)
    pieces = [piece for at in range(0, len(data), step) for piece in inflation.decode(data[at : at + step])]
    inflation.close()
    return b"".join(pieces)


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
@pytest.mark.parametrize(
    ("codings", "data", "whole"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0), TEXT),
        ("X-GZIP, identity", gzip.compress(TEXT, mtime=0), TEXT),
        ("gzip", gzip.compress(TEXT, mtime=0) + gzip.compress(b"more", mtime=0) + bytes(9), TEXT + b"more"),
        ("deflate", zlib.compress(TEXT), TEXT),
        ("deflate", zlib.compress(TEXT, wbits=-15), TEXT),
        ("identity", TEXT, TEXT),
        ("", TEXT, TEXT),
        ("gzip", b"", b""),
    ],
)
def test_one_coding_is_inflated(codings: str, data: bytes, whole: bytes, step: int) -> None:
    """gzip of one or more files, deflate with and without zlib's header, in whatever pieces it comes."""
    assert decode_body(codings, data, step) == whole


@pytest.mark.parametrize("codings", ["gzip, gzip", "br", "zstd", "deflate,gzip", "compress", "gzip;q=1", "\xff"])
def test_other_codings_are_refused(codings: str) -> None:
    """What nobody asked for and is not read will come again: it is bought once."""
    with pytest.raises(UnreadableError) as exc_info:
        ContentDecoder(codings)
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("UnsupportedCoding", True)


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize(
    ("codings", "data"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)[:-1]),
        ("gzip", gzip.compress(TEXT, mtime=0)[:9]),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"junk"),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"j"),
        ("gzip", TEXT),
        ("gzip", gzip.compress(b"", mtime=0) * 1_100 + gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)[:-1]),
        ("deflate", zlib.compress(TEXT) + b"junk"),
        ("deflate", b"x"),
    ],
)
def test_what_is_cut_or_damaged_is_malformed(codings: str, data: bytes, step: int) -> None:
    """Never half a body, nor more than one."""
    with pytest.raises(TransientError) as exc_info:
        decode_body(codings, data, step)
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("MalformedBody", True)


def test_a_bomb_is_inflated_only_as_far_as_somebody_asks() -> None:
    """A kilobyte stands for a megabyte: whoever counts can stop after any piece."""
    pieces = ContentDecoder("gzip").decode(gzip.compress(bytes(50_000_000)))
    assert [len(next(pieces)) for _ in range(3)] == [1_048_576] * 3
