"""The program: quick to say what it can, and plain about what went wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest

from tests.cli.conftest import PROGRAM, Command
from tests.machine import patience
from tts_pipeline.cli import _COMMANDS

HEAVY = ("pyarrow", "polars", "aiohttp", "httpx", "rich", "numpy", "fsspec", "shtab", "importlib.metadata")


def test_help_imports_nothing_heavy() -> None:
    """Help is there at once: what a command needs is imported when it runs."""
    script = (
        "import sys; from tts_pipeline.cli import main; assert main(['run', '--help']) == 0;"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=patience(60), check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
    assert "--max-concurrency" in result.stdout


def test_the_version_is_that_of_the_package(command: Command) -> None:
    """It is one line on standard output, and no failure."""
    result = command("--version")
    assert (result.status, result.out, result.err) == (0, f"tts-pipeline {version('tts-pipeline')}\n", "")


@pytest.mark.parametrize(("module", "function"), _COMMANDS.values())
def test_every_command_is_there(module: str, function: str) -> None:
    """Commands are imported by name when they run: a module that is moved takes its name along."""
    assert callable(getattr(import_module(f"tts_pipeline.cli.{module}"), function))


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ((), "COMMAND"),
        (("rnu",), "'rnu'"),
        (("run",), "SOURCE, DESTINATION"),
        (("run", "only-a-source"), "DESTINATION"),
        (("models", "--servce", "local"), "Did you mean '--service'?"),
        (("emulate", "--voice-mode", "opera"), "'opera'"),
        (("emulate", "--port", "-1"), "0 or more"),
        (("demo", "s3://bucket/demo"), "local folder"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_2(command: Command, argv: tuple[str, ...], name: str) -> None:
    """No usage dump and no traceback: what is wrong, and where to read on."""
    result = command(*argv)
    assert (result.status, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("tts-pipeline: ")
    assert name in result.err


def test_flags_are_not_abbreviated(command: Command) -> None:
    """An abbreviation that works today would break somebody's nightly job when the next flag comes."""
    assert "unknown argument '--serv'" in command("models", "--serv", "local").err


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    """``models | head -1`` ends well, with nothing on standard error."""
    writing = subprocess.Popen([*PROGRAM, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writing.stdout is not None
    assert writing.stderr is not None
    writing.stdout.close()
    with writing.stderr:
        assert writing.stderr.read() == b""
    assert writing.wait(timeout=patience(60)) == 0


def test_an_interrupt_outside_a_run_is_130(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """Ctrl-C is told in one line wherever it comes."""

    def interrupted(_given: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("tts_pipeline.cli.listing.list_services", interrupted)
    result = command("services")
    assert (result.status, result.out) == (130, "")
    assert result.err.startswith("tts-pipeline: interrupted")


def test_a_bug_is_a_traceback(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """What we did not raise on purpose is not dressed up as the user's mistake."""

    def broken(_given: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("tts_pipeline.cli.listing.list_services", broken)
    with pytest.raises(ZeroDivisionError):
        command("services")
