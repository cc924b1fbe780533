"""The command ``completion``: three shells complete every flag and its values."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.machine import patience
from tts_pipeline.cli.parser import SHELLS
from tts_pipeline.options import OPTIONS


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


@dataclass
class Shell:
    """A real shell that has read the script of its kind, in a folder with one file."""

    folder: Path
    program: str
    script: Path

    def output(self, *arguments: str) -> str:
        """Return what it prints when it is started with arguments."""
        command = [self.program, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, timeout=patience(60), check=True
        ).stdout

    def screen(self, setup: str, typed: str, last_word: str) -> str:
        """Return what its terminal shows, up to a word, after some keys; an empty line before them runs the setup."""
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(self.folder)
            os.execvpe(self.program, [self.program, "-f", "-i"], os.environ | {"TERM": "dumb", "COLUMNS": "300"})
        try:
            os.write(terminal, f"{setup}; echo rea''dy\n".encode())
            _read_until(terminal, "ready")
            os.write(terminal, typed.encode())
            return _read_until(terminal, last_word)
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(terminal)


def _read_until(terminal: int, word: str) -> str:
    output = ""
    while word not in output:
        if not select.select([terminal], [], [], patience(60))[0]:
            raise AssertionError(f"{word!r} does not appear: {output!r}")
        output += os.read(terminal, 65_536).decode(errors="replace")
    return output


@pytest.fixture
def shell(request: pytest.FixtureRequest, command: Command, tmp_path: Path) -> Shell:
    """The shell that a test names, with its script."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"there is no {request.param}")
    script = tmp_path / "_tts-pipeline"  # the name by which zsh finds it
    script.write_text(command("completion", request.param).out)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "lines.parquet").touch()
    return Shell(folder, program, script)


COMPLETIONS = [
    ("ru", ["run"]),
    ("run --max-c", ["--max-concurrency", "--max-cost", "--max-characters"]),
    ("run lines.parquet out --unspeakable ''", ["keep", "reject"]),
    ("export --as h", ["huggingface"]),
    ("run lin", ["lines.parquet"]),
    ("budget re", ["remove"]),
    ("budget set radio 1CNY --per mo", ["month"]),
    ("account status --acc", ["--account-store"]),
]


@pytest.mark.parametrize("shell", ["bash"], indirect=True)
@pytest.mark.parametrize(("words", "completed"), COMPLETIONS)
def test_bash_completes(shell: Shell, words: str, completed: list[str]) -> None:
    """The script does its work in a real bash."""
    program = (
        f"source {shell.script}; COMP_WORDS=(tts-pipeline {words}); COMP_CWORD=$(({len(words.split())}));"
        '_shtab_tts_pipeline; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    output = shell.output("--norc", "-c", program)
    assert sorted(map(str.strip, output.splitlines())) == sorted(completed)


@pytest.mark.parametrize("shell", ["fish"], indirect=True)
@pytest.mark.parametrize(("words", "completed"), COMPLETIONS)
def test_fish_completes(shell: Shell, words: str, completed: list[str]) -> None:
    """The script does its work in a real fish, which shows the help beside each word."""
    words = words.removesuffix("''")
    output = shell.output("--no-config", "-c", f"source {shell.script}; complete -C 'tts-pipeline {words}'")
    assert sorted(line.partition("\t")[0] for line in output.splitlines()) == sorted(completed)


@pytest.mark.parametrize("shell", ["zsh"], indirect=True)
def test_zsh_completes(shell: Shell) -> None:
    """The script does its work in a real zsh, at a terminal."""
    setup = f"fpath=({shell.script.parent} $fpath); autoload -U compinit; compinit -u -d {shell.folder}/.dump"
    screen = shell.screen(setup, "tts-pipeline run --max-c\t\t", "--max-cost")
    assert "--max-characters" in screen
    assert "--max-concurrency" in screen
