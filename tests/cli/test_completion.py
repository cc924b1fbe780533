"""The command ``completion``: three shells complete every flag and its values."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.machine import patience
from tts_pipeline.cli.parser import SHELLS
from tts_pipeline.options import OPTIONS

BASH = shutil.which("bash")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_knows_every_command_and_option(command: Command, shell: str) -> None:
    """Also those that will be added: the script follows from the parser."""
    result = command("completion", shell)
    assert (result.status, result.err) == (0, "")
    for option in OPTIONS:
        flag = f"-l {option.flag.removeprefix('--')} " if shell == "fish" else option.flag
        assert result.out.count(flag) >= 3, flag  # run, validate, estimate
    assert all(name in result.out for name in ("estimate", "emulate", "--version"[2:]))


def test_another_shell_is_refused(command: Command) -> None:
    """The shells that there are scripts for are named."""
    result = command("completion", "csh")
    assert result.status == 2
    assert "fish" in result.err


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("ru", ["run"]),
        ("run --max-c", ["--max-concurrency", "--max-cost", "--max-characters"]),
        ("run lines.parquet out --unspeakable ''", ["keep", "reject"]),
        ("export --as h", ["huggingface"]),
        ("run lin", ["lines.parquet"]),
    ],
)
def test_bash_completes(command: Command, tmp_path: Path, words: str, completed: list[str]) -> None:
    """The script does its work in a real bash."""
    script = tmp_path / "completion.sh"
    script.write_text(command("completion", "bash").out)
    (tmp_path / "lines.parquet").touch()
    program = (
        f"source {script}; COMP_WORDS=(tts-pipeline {words}); COMP_CWORD=$(({len(words.split())}));"
        '_shtab_tts_pipeline; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    result = subprocess.run(
        [str(BASH), "--norc", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=patience(60),
        check=True,
    )
    assert sorted(map(str.strip, result.stdout.splitlines())) == sorted(completed)
