"""What is installed from the wheel alone works: nothing needs the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import blocks, fits
from tts_pipeline.emulator.local_service import LocalService

ROOT = Path(__file__).parent.parent
UV = Path(sys.executable).parent / "uv"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UV.exists(), reason="uv is not beside this Python: make sets it up"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the built wheel and what it needs, without extras; its Python."""
    folder = tmp_path_factory.mktemp("wheel")
    _uv("build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT))
    _uv("venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    constraints = str(ROOT / "constraints.txt")
    _uv("pip", "install", "--quiet", "--python", str(python), "--constraint", constraints, str(wheel))
    return python


def test_the_readme_runs_from_the_wheel(installed: Path, tmp_path: Path, espeak_service: LocalService) -> None:
    """Its Python lines print what it says, in an empty folder."""
    python = [block for block in blocks((ROOT / "README.md").read_text()) if block.language == "python"]
    script = "\n".join(block.text for block in python).replace("http://127.0.0.1:8765", espeak_service.url)
    output = _run(installed, tmp_path, "-c", script)
    for block in python:
        assert fits(output, block.expected or ""), output


def test_the_commands_run_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The catalog and the examples are in it; what an extra brings is asked for by its name."""
    command = str(installed.parent / "tts-pipeline")
    assert "modelstream" in _run(Path(command), tmp_path, "services")
    done = subprocess.run(
        [command, "demo"], cwd=tmp_path, env=_environ(tmp_path), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "tts-pipeline[local]" in done.stderr


def _uv(*arguments: str) -> None:
    done = subprocess.run([str(UV), *arguments], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr


def _run(program: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(program), *arguments], cwd=folder, env=_environ(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environ(home: Path) -> dict[str, str]:
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in dropped} | {"HOME": str(home)}
