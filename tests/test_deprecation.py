"""Old names of the public face: each works for one release, and warns with its new name."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tts_pipeline as tts
from tests.builders import MODEL, call_arguments, line_frame
from tts_pipeline.client import SpeechClient
from tts_pipeline.deprecation import REMOVED_IN, Moved, import_name, renamed_arguments, renamed_attributes
from tts_pipeline.emulator import LocalService
from tts_pipeline.job import run_job

PUBLIC_NAMES = {
    "tts_pipeline": """
        Audio: data format sample_rate_hz channels duration_ms
        AudioSettings: format sample_rate_hz pause_ms
        BudgetCap: max_cost currency max_characters
        Catalog: services cards prices card service
        ConfigurationError: message hint
        Estimate: rows rows_there rows_rejected_before rows_without_text rows_too_long reused_rows repeated_rows
            segments characters_billed cost segments_at_most characters_at_most cost_at_most currency price_id
            price_basis audio_hours audio_bytes spoken requests_per_minute characters_per_minute latency_s
            latency_source elapsed_s limited_by answer_within_s notes rows_unspeakable left_out to_json
        Export: as_ destination rows splits audio_ms written unchanged removed renamed failed failures parts_left
            elapsed_s add fail has_files to_json
        FatalError: message code http_status request_id may_be_billed retry_after_s characters_reported input_limit hint
            concerning
        InputColumns: text utterance_id generate_ids parameters rename hive drop
        Job: source destination service model parameters columns selection audio unchecked catalog running card identity
        Limits: max_concurrency requests_per_minute characters_per_minute max_attempts timeout_s connect_timeout_s
            max_pause_s max_outage_s stop_grace_s retry_wait_s retry_wait_max_s
        MissingSourceError: message hint
        PermanentError: message code http_status request_id may_be_billed retry_after_s characters_reported input_limit
            hint concerning
        Price: price_id currency basis per_10k_characters per_1m_input_tokens per_1m_output_tokens effective_from
            effective_until source
        Progress: totals in_flight retries settled latency_ms done_before spent_before cap
        Reject: utterance error_class error_code message attempts cost currency failed_at_us
        Report: dataset this_run elapsed_s invocation_id destination stopped reused_from left_out stopped_by to_json
        Running: limits part_rows work_dir max_open_parts max_rejects quality budget reuse append rebuild retry_rejects
            missing_is_empty ship_journals ship_every_s lease_s unspeakable tags tag_columns
        Selection: limit sample seed
        Service: base_url dialect auth api_key account maker source query headers key_header key_prefix ca_file proxy
            name key_variable named
        ServiceError: message code http_status request_id may_be_billed retry_after_s characters_reported input_limit
            hint concerning
        Shard: index first_part parts shards all_parts numbers
        Speech: utterance audio words language segments attempts request_id request_key usage characters_counted
            characters_billed cost currency quality created_at_us deduplicated_from
        SpeechClient: service card limits audio quality budget library unspeakable clock random expect_no_more in_flight
            stop synthesize
        Stop: heard_by is_set set
        StoppedError: message stopped_by hint until
        StorageError: message hint
        TransientError: message code http_status request_id may_be_billed retry_after_s characters_reported input_limit
            hint concerning
        TtsPipelineError: message hint
        Usage: characters_reported input_tokens output_tokens total_tokens
        Utterance: utterance_id text parameters take voice
        Word: text start_ms end_ms text_start text_end
        asynthesize: frame service model text utterance_id columns audio running reuse catalog progress stop unchecked
        billed_characters: column billing
        estimate: rows service model destination columns limits running audio selection catalog unchecked latency_s hive
            drop
        estimate_cost: column model service catalog
        export: dataset destination as_ name where split audio_format sample_rate_hz on_rows
        load_catalog: path prices
        plan: job max_shards
        publish: job
        run: source destination service model columns running unchecked hive drop
        run_job: job progress reach stop
        run_parts: job shard progress at_a_time stop
        synthesize: frame service model text utterance_id columns audio running reuse catalog progress stop unchecked
        usage_of: frame work_dir
    """,
    "tts_pipeline.catalog": """
        Catalog:
        Service:
        load_catalog:
    """,
    "tts_pipeline.client": """
        SpeechClient:
    """,
    "tts_pipeline.emulator.local": """
        LocalService: options bill clear_faults close faults kill pid reset_bill set_faults start
    """,
    "tts_pipeline.emulator.options": """
        EmulatorOptions: host port voice_mode tone_bytes latency_ms requests_per_minute rate_tolerance_ms max_in_flight
            required_key key_header required_query answer bill speakers while_stdin
    """,
    "tts_pipeline.estimates": """
        Estimate:
        Spoken: language voice rows audio_hours is_measured
        estimate:
        estimate_rows: rows job latency_s today
    """,
    "tts_pipeline.exports": """
        Export:
        export:
    """,
    "tts_pipeline.frames": """
        asynthesize:
        billed_characters:
        estimate_cost:
        han_characters: column
        synthesize:
        usage_of:
    """,
    "tts_pipeline.job": """
        Job:
        Progress:
        Reach:
        Report:
        Running:
        Shard:
        Stop:
        plan:
        publish:
        run:
        run_job:
        run_parts:
        validate: job
    """,
    "tts_pipeline.report": """
        Open: dataset part claim
        open_parts: datasets
        usage: datasets
        usage_report: datasets by
    """,
}
"""What the release before could be asked for: names by module, and of each its arguments, fields and methods."""


@renamed_arguments(old="new", part=Moved("new.part", lambda part, arguments: {"new": arguments.get("new", 0) + part}))
def echo(*, new: int = 0, **others: Any) -> tuple[int, Any]:
    """Return the arguments."""
    return new, others


@renamed_arguments(old="new")
async def echo_async(*, new: int = 0) -> int:
    """Return the argument."""
    return new


@renamed_attributes(old="new")
@renamed_arguments(old="new")
@dataclass(frozen=True, slots=True)
class Value:
    """A value with one field."""

    new: int = 0


def _untyped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hide a function's types: type checkers know the new names only."""
    return function


def test_an_old_argument_is_the_new_one_and_the_warning_is_about_the_caller() -> None:
    """The warning names both, the release in which the old one goes, and the caller's file."""
    expected = rf"the argument old of echo is now new; the old name goes in tts-pipeline {REMOVED_IN}"
    with pytest.warns(DeprecationWarning, match=expected) as warnings:
        assert _untyped(echo)(old=3, other=4) == (3, {"other": 4})
    assert warnings[0].filename == __file__


def test_an_old_argument_of_a_coroutine_function_too() -> None:
    """The function is still known as one."""
    assert inspect.iscoroutinefunction(echo_async)
    with pytest.warns(DeprecationWarning, match="the argument old of echo_async"):
        assert asyncio.run(_untyped(echo_async)(old=3)) == 3


def test_both_names_at_once_are_refused() -> None:
    """Neither is silently dropped."""
    with pytest.raises(TypeError, match="got new, and got it by its old name old"):
        _untyped(echo)(old=3, new=4)


def test_a_value_is_made_replaced_and_read_by_its_old_names() -> None:
    """``replace`` gives the new name beside the old one: the old one is what was asked for."""
    with pytest.warns(DeprecationWarning, match="the argument old of Value is now new"):
        value = _untyped(Value)(old=3)
    with pytest.warns(DeprecationWarning, match="the argument old of Value is now new"):
        assert _untyped(replace)(value, old=4) == Value(4)
    with pytest.warns(DeprecationWarning, match=r"Value\.old is now new"):
        assert getattr(value, "old") == 3  # noqa: B009 (mypy knows that it is not there)


def test_new_names_warn_of_nothing() -> None:
    """Nor does the package itself use an old one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (echo(new=1), Value(new=1).new) == ((1, {}), 1)


def test_the_signature_shows_old_names_behind_the_new_ones() -> None:
    """Airflow drops whatever of ``default_args`` a signature does not show: a budget must not vanish."""
    assert list(inspect.signature(echo).parameters) == ["new", "old", "part", "others"]


def test_an_argument_that_became_a_part_of_another_changes_that_one() -> None:
    """Whether or not that one is given, too."""
    with pytest.warns(DeprecationWarning, match=r"the argument part of echo is now new\.part") as warnings:
        assert (_untyped(echo)(part=3), _untyped(echo)(part=3, new=4)) == ((3, {}), (7, {}))
    assert {warning.filename for warning in warnings} == {__file__}


@pytest.mark.parametrize("module", PUBLIC_NAMES)
def test_every_name_of_the_release_before_is_there(module: str) -> None:
    """Under its old name: nobody's program ends with an error because something was renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        values = {name: getattr(importlib.import_module(module), name) for name in _members_by_name(module)}
        missing = {name: set(_members_by_name(module)[name]) - _members(value) for name, value in values.items()}
    assert {name: members for name, members in missing.items() if members} == {}


def _members_by_name(module: str) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for word in PUBLIC_NAMES[module].split():
        if word.endswith(":"):
            members[word[:-1]] = []
        else:
            members[[*members][-1]].append(word)
    return members


def _members(value: Any) -> set[str]:
    is_own = inspect.isclass(value) or inspect.isfunction(value)
    return {*dir(value), *(inspect.signature(value).parameters if is_own else ())}


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("tts_pipeline", "Running", "RunOptions"),
        ("tts_pipeline", "Stop", "CancelToken"),
        ("tts_pipeline.job", "Running", "RunOptions"),
        ("tts_pipeline.job", "Stop", "CancelToken"),
        ("tts_pipeline.job", "Reach", "StartService"),
        ("tts_pipeline.estimates", "Spoken", "tts_pipeline.estimates.VoiceTotals"),
        ("tts_pipeline.report", "Open", "tts_pipeline.report.OpenPart"),
        ("tts_pipeline.emulator.local", "LocalService", "tts_pipeline.emulator.LocalService"),
    ],
)
def test_an_old_name_of_a_module_is_the_new_one(module: str, old: str, new: str) -> None:
    """It can be had, and is not listed."""
    package = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is now {new}") as warnings:
        value = getattr(package, old)
    assert value is import_name(new if "." in new else f"{module}.{new}")
    assert warnings[0].filename == __file__
    assert old not in dir(package)


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        (tts.run, "running", "options"),
        (tts.synthesize, "running", "options"),
        (tts.asynthesize, "running", "options"),
        (tts.estimate, "running", "options"),
        (tts.Job, "running", "options"),
        (run_job, "reach", "start_service"),
        (SpeechClient, "library", "cache"),
        (LocalService.close, "within_s", "timeout_s"),
        (tts.Export.fail, "why", "reason"),
        (tts.estimate, "limits", "options.limits"),
        (tts.synthesize, "reuse", "options.reuse"),
        (tts.asynthesize, "reuse", "options.reuse"),
    ],
)
def test_an_old_argument_of_the_public_face_is_the_new_one(function: Callable[..., Any], old: str, new: str) -> None:
    """It is taken before anything else is looked at, and warned of."""
    assert new.partition(".")[0] in inspect.signature(function).parameters
    with pytest.warns(DeprecationWarning, match=f"the argument {old} of .* is now {new}"), pytest.raises(TypeError):
        _call(function, {old: None})


def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    result = function(**arguments)
    if inspect.isawaitable(result):
        asyncio.run(result)  # type: ignore[arg-type] # a coroutine


def test_old_attributes_of_the_public_face_are_the_new_ones() -> None:
    """A job's options, the end of a client's input, and who listens to a stop."""
    job = tts.Job("in", "out", tts.Service(base_url="http://localhost:1", auth="none"), "m")
    with pytest.warns(DeprecationWarning, match=r"Job\.running is now options"):
        assert getattr(job, "running") is job.options  # noqa: B009 (mypy knows that it is not there)
    assert isinstance(inspect.getattr_static(SpeechClient, "expect_no_more"), property)
    reasons: list[str] = []
    token = tts.CancelToken()
    with pytest.warns(DeprecationWarning, match=r"CancelToken\.heard_by is now subscribe"):
        heard_by = getattr(token, "heard_by")  # noqa: B009 (mypy knows that it is not there)
    with heard_by(lambda reason: reasons.append(reason.stopped_by)):
        token.set()
    assert reasons == ["interrupted"]
    error = tts.PermanentError("no", code="InvalidParameter")
    with pytest.warns(DeprecationWarning, match=r"PermanentError\.concerning is now for_utterance"):
        assert getattr(error, "concerning")("u1", attempts=1, cost=None) is error  # noqa: B009 (the same)


def test_a_service_by_name_is_a_function_now() -> None:
    """It is found as before, and the warning is about the caller."""
    named: Callable[..., tts.Service] = getattr(tts.Service, "named")  # noqa: B009 (mypy knows that it is not there)
    with pytest.warns(DeprecationWarning, match=r"Service\.named is now tts_pipeline\.find_service") as warnings:
        service = named("modelstream", environ={"MODELSTREAM_API_KEY": "key"})
    assert (service.name, service.api_key) == ("modelstream", "key")
    assert warnings[0].filename == __file__


def test_limits_of_an_estimate_are_those_of_its_options() -> None:
    """As they were, and with the other options."""
    frame, service = pl.DataFrame({"text": ["One.", "Two."]}), tts.Service(base_url="http://localhost:1", auth="none")
    limits, options = tts.Limits(requests_per_minute=1), tts.RunOptions(unspeakable="keep")
    expected = tts.estimate(frame, service, model=MODEL, options=replace(options, limits=limits))
    with pytest.warns(DeprecationWarning, match=r"the argument limits of estimate is now options\.limits"):
        assert _untyped(tts.estimate)(frame, service, model=MODEL, options=options, limits=limits) == expected


def test_reuse_of_a_call_is_an_option_and_none_of_it_is_no_cache(tone_service: LocalService, tmp_path: Path) -> None:
    """A store takes the call's audio; without any, the same call buys again."""
    call, store = partial(_untyped(tts.synthesize), line_frame(2), voice="Cherry"), tmp_path / "store"
    for reuse, folder in ((store, "one"), ([store], "two")):
        with pytest.warns(DeprecationWarning, match=r"the argument reuse of synthesize is now options\.reuse"):
            call(reuse=reuse, **call_arguments(tone_service, tmp_path / folder))
    assert tone_service.bill()["received"] == 2
    for _ in range(2):
        with pytest.warns(DeprecationWarning, match=r"reuse=None is cache=False"):
            call(reuse=None, **call_arguments(tone_service, tmp_path / "two"))
    assert tone_service.bill()["received"] == 6
