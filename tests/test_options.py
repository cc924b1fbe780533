"""The options of a job: each is written once, and every interface has it."""

from __future__ import annotations

import argparse
import inspect
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

import tts_pipeline as tts
from tts_pipeline.airflow import get_provider_info
from tts_pipeline.catalog import load_catalog
from tts_pipeline.catalog.keywords import KEYWORDS, SHARED_NAMES
from tts_pipeline.cli.parser import make_parser
from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, QualityPolicy, Selection
from tts_pipeline.job import Job, RunOptions
from tts_pipeline.options import BY_NAME, BY_PARAMETER, COMMAND_LINE, EXCLUSIVE, GROUPS, OPTIONS, OptionKind

HOLDERS = {
    "job": Job,
    "options": RunOptions,
    "limits": Limits,
    "budget": BudgetCap,
    "columns": InputColumns,
    "selection": Selection,
    "audio": AudioSettings,
}

PYTHON_ONLY = {
    *("source", "destination", "columns", "selection", "audio", "options", "limits", "budget", "currency"),
    *("connect_timeout_s", "max_pause_s", "max_outage_s", "stop_grace_s", "retry_wait_s", "retry_wait_max_s"),
    *("max_open_parts", "missing_is_empty", "ship_journals", "ship_every_s"),
}
"""Fields that hold others, are positions of the command line, or are for programs."""


def test_every_option_is_written_once() -> None:
    """By its name, and by its field."""
    assert len(BY_NAME) == len(OPTIONS)
    assert not [field for field, count in Counter((o.holder, o.parameter) for o in OPTIONS).items() if count > 1]
    assert {name for pair in EXCLUSIVE for name in pair} <= BY_NAME.keys()


def test_every_field_of_a_job_is_an_option() -> None:
    """And every option a field, but for those of the command line alone and of the catalog's prices."""
    job_fields = {(holder, field.name) for holder, value in HOLDERS.items() for field in fields(value)}
    options = {(option.holder, option.parameter) for option in OPTIONS}
    assert {name for _, name in job_fields - options} == PYTHON_ONLY
    assert {name for _, name in options - job_fields} == {"voice", "prices", "json", "quiet"}
    assert "prices" in inspect.signature(load_catalog).parameters


@pytest.mark.parametrize("command", ["run", "validate", "estimate"])
def test_every_option_is_a_flag_in_its_group(command: str) -> None:
    """Once, with its help and without a default, which is in ``config`` alone."""
    parser = make_parser()[1][command]
    groups = {group.title: group._group_actions for group in parser._action_groups}
    for title, options in GROUPS.items():
        flags = Counter(flag for action in groups[title] for flag in action.option_strings)
        assert {option.flag: flags[option.flag] for option in options} == {option.flag: 1 for option in options}
    actions = [action for action in parser._actions if action.dest in BY_NAME]
    assert all(action.default is argparse.SUPPRESS for action in actions)
    assert len(actions) == len(OPTIONS)


@pytest.mark.parametrize(
    ("function", "own"),
    [
        (tts.run, ""),
        (tts.estimate, "latency_s"),
        (tts.synthesize, "cache progress stop"),
        (tts.asynthesize, "cache progress stop"),
    ],
)
def test_arguments_in_python_are_fields_of_a_job(function: Callable[..., Any], own: str) -> None:
    """Or of its columns; but for a few of its own, each is in this table or a value that this table fills."""
    parameters = inspect.signature(inspect.unwrap(function)).parameters
    arguments = {name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    job_fields = {field.name for value in (Job, InputColumns) for field in fields(value)}
    assert arguments - job_fields == set(own.split())
    assert arguments - set(own.split()) <= BY_PARAMETER.keys() | HOLDERS.keys() | {"destination"}


@pytest.mark.parametrize("function", [tts.run, tts.estimate, tts.synthesize])
def test_every_argument_in_python_is_described(function: Callable[..., Any]) -> None:
    """Each once, in the order in which it is given."""
    described = (inspect.getdoc(function) or "").partition("\nArgs:\n")[2].partition("\nReturns:")[0]
    names = re.findall(r"^ {4}\**(\w+): ", described, re.MULTILINE)
    assert names == list(inspect.signature(inspect.unwrap(function)).parameters)


def test_every_option_is_a_keyword() -> None:
    """Its name in a job file and its name in Python are no voice parameters, but for those that services have too."""
    names = {name for option in OPTIONS for name in (option.name, option.parameter)}
    assert names <= KEYWORDS | SHARED_NAMES
    assert {field.name for field in fields(QualityPolicy)} <= KEYWORDS | SHARED_NAMES


def test_the_limits_of_an_airflow_connection_are_options() -> None:
    """Under the same names."""
    connection_fields = get_provider_info()["connection-types"][0]["conn-fields"]
    limits = {option.name for option in OPTIONS if option.holder == "limits"}
    assert limits & connection_fields.keys() == limits - {"max_attempts"}


def test_airflow_has_templates_of_every_text_of_a_job() -> None:
    """The texts and tables among a task's fields are rendered: those of the job itself, and the tags of the bill."""
    operators = pytest.importorskip("tts_pipeline.airflow.operators.base")
    texts = {o.parameter for o in OPTIONS if o.holder == "job" and o.kind is not OptionKind.NAMES} - {"service"}
    connections = {"speech_conn_id", "source_conn_id", "destination_conn_id"}
    expected = texts | {"tags", "source", "destination", "text", "utterance_id"} | connections
    assert set(operators.SpeechJobOperator.template_fields) == expected


def test_a_default_is_shown_where_there_is_one() -> None:
    """It comes from ``config``; nothing is no default."""
    assert BY_NAME["timeout_s"].help_with_default.endswith(f"(default: {Limits().timeout_s:g})")
    assert BY_NAME["hive"].help_with_default.endswith("(default: on)")
    assert "default" not in BY_NAME["limit"].help_with_default
    assert list(GROUPS)[-1] == COMMAND_LINE
