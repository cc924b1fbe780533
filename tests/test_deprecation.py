"""Old names of the public face: each works for one release, and warns with its new name."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

import tts_pipeline as tts
from tts_pipeline.client import SpeechClient
from tts_pipeline.deprecation import REMOVED_IN, renamed_arguments, renamed_attributes
from tts_pipeline.job import run_job


@renamed_arguments(old="new")
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
    with pytest.warns(DeprecationWarning, match=expected) as caught:
        assert _untyped(echo)(old=3, other=4) == (3, {"other": 4})
    assert caught[0].filename == __file__


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
    assert list(inspect.signature(echo).parameters) == ["new", "old", "others"]


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("tts_pipeline", "Running", "RunOptions"),
        ("tts_pipeline", "Stop", "CancelToken"),
        ("tts_pipeline.job", "Running", "RunOptions"),
        ("tts_pipeline.job", "Stop", "CancelToken"),
    ],
)
def test_an_old_name_of_a_module_is_the_new_one(module: str, old: str, new: str) -> None:
    """It can be had, and is not listed."""
    package = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is now {new}") as caught:
        assert getattr(package, old) is getattr(package, new)
    assert caught[0].filename == __file__
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
    ],
)
def test_an_old_argument_of_the_public_face_is_the_new_one(function: Callable[..., Any], old: str, new: str) -> None:
    """It is taken before anything else is looked at, and warned of."""
    assert new in inspect.signature(function).parameters
    with pytest.warns(DeprecationWarning, match=f"the argument {old} of .* is now {new}"), pytest.raises(TypeError):
        _call(function, {old: None})


def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    result = function(**arguments)
    if inspect.isawaitable(result):
        asyncio.run(result)  # type: ignore[arg-type] # a coroutine


def test_old_attributes_of_the_public_face_are_the_new_ones() -> None:
    """A job's options, and the end of a client's input."""
    job = tts.Job("in", "out", tts.Service(base_url="http://localhost:1", auth="none"), "m")
    with pytest.warns(DeprecationWarning, match=r"Job\.running is now options"):
        assert getattr(job, "running") is job.options  # noqa: B009 (mypy knows that it is not there)
    assert isinstance(inspect.getattr_static(SpeechClient, "expect_no_more"), property)
