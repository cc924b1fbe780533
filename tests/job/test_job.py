from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MODEL, job_of
from tts_pipeline.catalog import Service
from tts_pipeline.config import AudioSettings, InputColumns, Limits, Selection
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job.job import RunOptions, Shard, divide_into_shards
from tts_pipeline.models import ParameterValue

JOB = job_of(Path("/data"))
PARAMETERS: dict[str, ParameterValue] = {"voice": "Cherry", "speed": 1.2}


@given(parts=st.integers(0, 3_000), max_shards=st.integers(1, 100))
def test_shards_are_even_and_hold_every_part_once(parts: int, max_shards: int) -> None:
    """In order, without gaps; sizes differ by one at most; at least one shard, even without parts."""
    shards = divide_into_shards(parts, max_shards)
    assert [number for shard in shards for number in shard.numbers()] == list(range(parts))
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert len(shards) == max(1, min(parts, max_shards))
    sizes = {shard.parts for shard in shards}
    assert max(sizes) - min(sizes) <= 1


def test_shards_are_the_same_every_time() -> None:
    """A restarted worker gets the same parts."""
    shards = [Shard(index, first, parts, 3, 10) for index, first, parts in ((0, 0, 3), (1, 3, 3), (2, 6, 4))]
    assert divide_into_shards(10, 3) == divide_into_shards(10, 3) == shards


@pytest.mark.parametrize("max_shards", [0, -1])
def test_no_shards_is_a_mistake(max_shards: int) -> None:
    """The error names the number."""
    with pytest.raises(ConfigurationError, match=f"max_shards is {max_shards}"):
        divide_into_shards(10, max_shards)


@pytest.mark.parametrize(
    "change",
    [
        {"options": RunOptions(limits=Limits(max_concurrency=99), part_rows=7, tags={"a": "b"}, max_rejects=3)},
        {"destination": "elsewhere", "source": "another/root"},
        {"service": Service(base_url="http://127.0.0.1:1", name="voices", account="team", api_key="secret")},
        {"unchecked": ("voice",)},
    ],
)
def test_how_a_job_is_run_does_not_make_it_another(change: dict[str, Any]) -> None:
    """Concurrency, limits, key, tags and folders are no part of a dataset's identity."""
    assert replace(JOB, **change).identity(PARAMETERS) == JOB.identity(PARAMETERS)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("service", {"service": Service(base_url="http://127.0.0.1:9")}),
        ("model", {"model": "other"}),
        ("columns", {"columns": InputColumns(parameters={"voice": "speaker"})}),
        ("text_column", {"columns": InputColumns(text="sentence")}),
        ("id_column", {"columns": InputColumns(generate_ids=True)}),
        ("rename", {"columns": InputColumns(rename={"a": "b"})}),
        ("limit", {"selection": Selection(limit=5)}),
        ("sample", {"selection": Selection(sample=5)}),
        ("audio_format", {"audio": AudioSettings(format="flac")}),
        ("sample_rate_hz", {"audio": AudioSettings(sample_rate_hz=16_000)}),
    ],
)
def test_what_determines_the_dataset_makes_another(name: str, change: dict[str, Any]) -> None:
    """Each such setting has a separate name, so that an error can name the difference."""
    identity, other = JOB.identity(PARAMETERS), replace(JOB, **change).identity(PARAMETERS)
    assert name in {key for key in identity if identity[key] != other[key]}


def test_parameters_determine_the_dataset_in_any_order() -> None:
    """As they are sent; their order does not count."""
    assert JOB.identity(PARAMETERS) == JOB.identity({"speed": 1.2, "voice": "Cherry"})
    assert JOB.identity(PARAMETERS) != JOB.identity({**PARAMETERS, "speed": 1.3})


def test_the_seed_counts_only_with_a_sample() -> None:
    """Without a sample it changes nothing."""
    seeds = [replace(JOB, selection=Selection(seed=seed)) for seed in (1, 2)]
    assert seeds[0].identity({}) == seeds[1].identity({})
    samples = [replace(JOB, selection=Selection(sample=5, seed=seed)) for seed in (1, 2)]
    assert samples[0].identity({}) != samples[1].identity({})


def test_the_card_is_that_of_the_model_on_the_service() -> None:
    """It comes from the built-in catalog; an unknown model of a known service is refused."""
    assert JOB.card().model == MODEL
    with pytest.raises(ConfigurationError, match="no model 'qwen3'"):
        replace(JOB, service=Service(base_url="http://127.0.0.1:9", name="local"), model="qwen3").card()


def test_no_key_in_what_a_job_shows() -> None:
    """Neither its representation nor its identity holds the key."""
    job = replace(JOB, service=Service(base_url="https://voices.example", api_key="very-secret"))
    assert "very-secret" not in repr(job)
    assert "very-secret" not in repr(job.identity({}))


def test_a_query_and_headers_are_part_of_a_job_that_has_them() -> None:
    """They change the requests; a job without them has the same identity as in older versions."""
    service = replace(JOB.service, query={"api-version": "1"}, headers={"x-region": "eu"})
    identity = replace(JOB, service=service).identity({})
    assert (identity["query"], identity["headers"]) == ({"api-version": "1"}, {"x-region": "eu"})
    assert JOB.identity({}).keys() == identity.keys() - {"query", "headers"}
    assert replace(JOB, service=replace(JOB.service, key_header="api-key")).identity({}) == JOB.identity({})
