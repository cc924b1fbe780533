"""Rules of the repository as checks: who may import whom, and who may touch the outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tts_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    "errors": 0,
    "models": 0,
    "config": 0,
    "loading": 0,
    "schema": 1,
    "catalog": 1,
    "text": 1,
    "cost": 1,
    "wire": 1,
    "audio": 1,
    "client": 2,
    "dataset": 2,
    "batch": 3,
    "job": 4,
    "watch": 5,
    "frames": 5,
    "estimates": 5,
    "report": 5,
    "browse": 5,
    "exports": 5,
    "cli": 6,
    "airflow": 6,
}
SAME_FLOOR = {
    ("models", "errors"),
    ("catalog", "text"),
    ("catalog", "cost"),
    ("wire", "audio"),
    ("estimates", "frames"),
    ("frames", "watch"),
    ("browse", "report"),
}
"""Pairs on one floor where the first may import the second."""
APART = "emulator"
APART_MAY_IMPORT = {"errors", "models", "config"}

OUTSIDE = {
    "airflow": {"airflow"},
    "httpx": {"client"},
    "aiohttp": {"client", "emulator", "browse"},
    "tenacity": {"client"},
    "polars": {"frames", "estimates", "report", "browse", "exports", "cli", "airflow"},
    "espeakng_loader": {"emulator"},
    "datasets": {"exports"},
    "huggingface_hub": {"exports"},
    "lhotse": {"exports"},
}
"""Libraries that only some packages may import."""

READS_ENVIRONMENT = {"catalog/keys.py"}
READS_ENVIRONMENT_BELOW = ("cli", "airflow")


def _place(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            yield node.module
            if node.module == "tts_pipeline":
                yield from (f"tts_pipeline.{name.name}" for name in node.names)


def _ours(path: Path) -> set[str]:
    return {name.split(".")[1] for name in _imports(path) if name.startswith("tts_pipeline.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_strictly_down(path: Path) -> None:
    """A module imports only what stands below its floor, or its own package."""
    place = _place(path)
    if place in {"__init__", "__main__"}:
        return
    if place == APART:
        assert _ours(path) <= APART_MAY_IMPORT | {APART}
        return
    for other in _ours(path) - {place}:
        if other == APART:
            assert place == "cli", f"{path}: only the command line starts the local service"
        elif (place, other) not in SAME_FLOOR:
            assert FLOORS[other] < FLOORS[place], f"{path} (floor {FLOORS[place]}) imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_outside_is_touched_where_it_belongs(path: Path) -> None:
    """Only the named packages import the libraries that reach outside."""
    for name in _imports(path):
        allowed = OUTSIDE.get(name.split(".")[0])
        assert allowed is None or _place(path) in allowed, f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_environment_is_read_at_the_edges(path: Path) -> None:
    """Only the keys, the command line and Airflow's side read environment variables."""
    relative = path.relative_to(PACKAGE).as_posix()
    if relative in READS_ENVIRONMENT or _place(path) in READS_ENVIRONMENT_BELOW or _place(path) == APART:
        return
    read = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} and _is_os(node.value))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {n.name for n in node.names} & {"environ", "getenv"}
        )
    ]
    assert not read, f"{relative} reads the environment"


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"


def test_every_module_has_its_floor() -> None:
    """A new top-level module needs a place in the house."""
    places = {_place(path) for path in MODULES} - {"__init__", "__main__", APART}
    assert places <= FLOORS.keys()
