"""A page of the documentation as what can be done with it: its blocks, run in order in one folder."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.machine import patience

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_SPENDING = re.compile(r"(tts-pipeline (?:run|validate) .*--service) (?:modelstream|baze|dashscope|openai)\b")
_ELSEWHERE = "http://127.0.0.1:8765"
"""Where the pages have the local service; the tests have one at a port of its own."""
_NAMED = re.compile(r"# ([\w./-]+\.(?:toml|py))\n")
_SERVER = "airflow standalone"
_SERVES = re.compile(r"tts-pipeline (?:browse|emulate)\b.*")


@dataclass(frozen=True)
class Block:
    """A fenced block: ``language`` (``bash``, ``python``, ``toml`` or another), its text, and what it should print.

    ``line`` is where it stands in its page, from 1. ``expected`` is the text of a ``text`` block right behind it.
    """

    language: str
    text: str
    line: int
    expected: str | None


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page that are done, in order: a ``text`` block belongs to the one before it."""
    fences = list(_FENCE.finditer(page))
    for match, following in zip(fences, [*fences[1:], None], strict=False):
        language = match["info"].strip()
        if language == "text":
            continue
        has_output = following is not None and following["info"].strip() == "text"
        expected = following["body"] if following is not None and has_output else None
        yield Block(language, match["body"], page.count("\n", 0, match.start()) + 1, expected)


@dataclass
class Reader:
    """Somebody who does what a page says, in a folder of their own, with the local service for the paid ones.

    A ``toml`` block whose first line names a file (``# job.toml``) is saved, and so is a ``python`` block with such a
    line; other ``bash`` and ``python`` blocks are run and must end well. An ``# exit N`` at the end of a command says
    with what status it ends instead. A block that ends in ``airflow standalone``, which does not end, is kept as
    ``server`` for whoever can start it.
    """

    folder: Path
    service_url: str
    environ: Mapping[str, str]
    exported: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    server: str | None = None

    def do(self, block: Block) -> str:
        """Do what a block says and return what it printed.

        Raises:
            AssertionError: A command ended with another status than told.
        """
        match block.language:
            case "bash":
                return self._shell(block.text)
            case "toml" | "python" if file_line := _NAMED.match(block.text):
                return self._save(block.text, file_line[1])
            case "python":
                return self._python(block)
            case other:
                raise AssertionError(
                    f"line {block.line}: a block of {other!r} cannot be done: bash, python, text, "
                    "or toml that begins with its file's name, as in '# job.toml'"
                )

    def _shell(self, text: str) -> str:
        local_text = text.replace(_ELSEWHERE, self.service_url)
        lines = [_SPENDING.sub(r"\1 local", line) for line in _joined(_without_installs(local_text))]
        script = "\n".join([*self.exported, *map(_expecting, lines)])
        self.exported += [line for line in lines if line.startswith("export ")]
        if lines[-1:] == [_SERVER]:
            self.server = script
            return ""
        if _SERVES.fullmatch("\n".join(lines)):
            return self._served(lines[0])
        process = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=dict(self.environ), timeout=patience(120),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 0, f"{text}\nended with {process.returncode}:\n{process.stdout}"
        return process.stdout

    def _served(self, command: str) -> str:
        """Start what serves until Ctrl-C, and see that it serves and ends well."""
        arguments = shlex.split(re.sub(r"--port \d+", "--port 0", command))
        with subprocess.Popen(arguments, cwd=self.folder, env=dict(self.environ), stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            match = re.search(r"http://[\d.:]+", server.stdout.readline().decode())
            answer = httpx.get(match[0], trust_env=False, timeout=patience(30)) if match else None
            server.send_signal(signal.SIGINT)
            assert server.wait(patience(30)) == 0
        assert answer is not None, f"{command} told no URL"
        assert answer.status_code in {200, 404}
        return ""

    def _python(self, block: Block) -> str:
        text = block.text.replace(_ELSEWHERE, self.service_url)
        text = re.sub(r"tts\.find_service\(\"\w+\"\)", f'tts.Service(base_url="{self.service_url}")', text)
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()) as stdout:
            exec(compile(text, f"<line {block.line}>", "exec"), self.names)
        return stdout.getvalue()

    def _save(self, text: str, name: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(_ELSEWHERE, self.service_url))
        return ""


def environment(service_url: str, home: Path) -> dict[str, str]:
    """Return the environment of a reader: the command on the path, the local service, and a home of their own."""
    scripts = Path(sys.executable).parent
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return inherited | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "TTS_LOCAL_URL": service_url,
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }


def fits(output: str, expected: str) -> bool:
    """Whether the expected lines were printed, in order and one after another; ``…`` stands for anything in a line.

    A line of nothing but ``…`` stands for any lines. Blanks at the ends of lines do not count.
    """
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == "…" else re.escape(line.rstrip()).replace("…", "[^\n]*") + r"[ \t]*\n"
        for line in expected.splitlines()
    )
    return re.search(rf"(?:^|\n){pattern}", output.rstrip("\n") + "\n") is not None


def _without_installs(text: str) -> list[str]:
    """Leave out what sets a machine up: the reader's is set up."""
    return [
        line for line in text.splitlines() if not re.match(r"(?:pip install|python3? -m venv|make|\. |source )", line)
    ]


def _joined(lines: list[str]) -> list[str]:
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def _expecting(command: str) -> str:
    match = re.search(r"\s+# exit (\d+)$", command)
    if not match:
        return command
    return (
        f"status=0; {command[: match.start()]} || status=$?; [ $status = {match[1]} ] || exit {shlex.quote(match[1])}"
    )
