"""Tests of the bytes of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.storage.row_sizes import groups_within, row_sizes

_TEXTS = st.lists(st.none() | st.text("ab", max_size=9), max_size=12)
_KINDS: Mapping[str, Callable[[list[Any]], pa.Array]] = {
    "text": lambda texts: pa.array(texts, pa.string()),
    "large": lambda texts: pa.array(texts, pa.large_string()),
    "categories": lambda texts: pa.array(texts, pa.string()).dictionary_encode(),
    "lists": lambda texts: pa.array([[text, text] if text else None for text in texts], pa.list_(pa.string())),
    "pairs": lambda texts: pa.array([[text, text] if text else None for text in texts], pa.list_(pa.string(), 2)),
    "structs": lambda texts: pa.array(
        [None if text is None else {"a": [text]} for text in texts], pa.struct([("a", pa.list_(pa.string()))])
    ),
    "maps": lambda texts: pa.array(
        [None if text is None else [(text, "b")] for text in texts], pa.map_(pa.string(), pa.string())
    ),
    "numbers": lambda texts: pa.array([len(text) if text else None for text in texts], pa.int64()),
}


@given(_TEXTS, st.integers(0, 12), st.integers(0, 12))
def test_sizes_do_not_depend_on_how_rows_are_cut(texts: list[str | None], first: int, second: int) -> None:
    """For every kind of column, a row has the same size in any slice; a text has at least its bytes."""
    table = pa.table({name: make(texts) for name, make in _KINDS.items()})
    cuts = sorted({0, min(first, len(texts)), min(second, len(texts)), len(texts)})
    pieces = [table.slice(start, end - start) for start, end in itertools.pairwise(cuts)]
    whole = row_sizes(table).tolist()
    assert [size for piece in pieces for size in row_sizes(piece).tolist()] == whole
    assert row_sizes(pa.concat_tables(pieces) if pieces else table).tolist() == whole
    assert all(size >= 8 * len(text or "") for size, text in zip(whole, texts, strict=True))


@given(sizes=st.lists(st.integers(0, 12), max_size=20))
def test_groups_are_as_large_as_they_may_be(sizes: list[int]) -> None:
    """Nothing is lost; a group above the maximum is one item; no group has room for the next item."""
    groups = list(groups_within(sizes, float, 10))
    assert [size for group in groups for size in group] == sizes
    assert all(sum(group) <= 10 or len(group) == 1 for group in groups)
    assert all(sum(group) + following[0] > 10 for group, following in itertools.pairwise(groups))
