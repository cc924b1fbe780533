"""What a URL asks for: any text is data, and what is none of its kind is refused."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest

from tts_pipeline.browse.row_query import MAX_PAGE_ROWS, parse_row_query
from tts_pipeline.errors import ConfigurationError

FRAME = pl.DataFrame(
    {
        "utterance_id": ["a", "b", "c"],
        "text": ["Straße (1.5)", "ASK [me] anything", None],
        "voice": ["Cherry", None, "Cherry"],
        "language": ["de", "en", None],
        "error_code": [None, None, "Refused"],
        "message": [None, None, "it said no"],
        "duration_ms": [1_500, 900, None],
        "cost": [Decimal("0.10"), Decimal("0.30"), None],
        "quality": [["slow"], [], []],
    },
    schema_overrides={"error_code": pl.String, "message": pl.String, "quality": pl.List(pl.String)},
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "abc"),
        ({"q": ""}, "abc"),
        ({"q": "STRASSE"}, ""),
        ({"q": "straße"}, "a"),
        ({"q": "(1.5)"}, "a"),
        ({"q": ".*"}, ""),
        ({"q": "[ME]"}, "b"),
        ({"q": "said no"}, "c"),
        ({"q": "c"}, "c"),
        ({"status": "speech"}, "ab"),
        ({"status": "reject"}, "c"),
        ({"voice": "Cherry"}, "ac"),
        ({"voice": "-"}, "b"),
        ({"language": "-"}, "c"),
        ({"flag": "slow"}, "a"),
        ({"flag": "*"}, "a"),
        ({"flag": "-"}, "bc"),
        ({"error_code": "Refused"}, "c"),
        ({"seconds_from": "1"}, "a"),
        ({"seconds_to": "1"}, "b"),
        ({"cost_from": "0.2", "cost_to": "0.3"}, "b"),
        ({"voice": "Cherry", "language": "de", "unknown": "x"}, "a"),
    ],
)
def test_rows_are_found(query: dict[str, str], expected: str) -> None:
    """Text is found whatever its case and never as a pattern; conditions hold together; null is nothing's equal."""
    assert "".join(FRAME.filter(parse_row_query(query).condition())["utterance_id"]) == expected


@pytest.mark.parametrize(
    "query",
    [
        *({"sort": "message"}, {"sort": "--cost"}, {"seconds_from": "nan"}, {"cost_to": "1e999"}, {"cost_to": "dear"}),
        *({"offset": "-1"}, {"limit": "ten"}, {"offset": "9" * 40}, {"limit": "٣"}),
    ],
)
def test_what_is_none_of_its_kind_is_refused(query: dict[str, str]) -> None:
    """With an error that names it, not a failure."""
    with pytest.raises(ConfigurationError):
        parse_row_query(query)


def test_a_page_has_an_end() -> None:
    """However many rows are asked for."""
    assert parse_row_query({"limit": "100000"}).limit == MAX_PAGE_ROWS
    assert parse_row_query({}).is_unfiltered
    assert not parse_row_query({"sort": "-cost"}).is_unfiltered
    assert (parse_row_query({"sort": "-cost"}).sort, parse_row_query({"sort": "-cost"}).descending) == ("cost", True)
