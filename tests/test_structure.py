"""Rules of the repository as checks: who may import whom, and who may touch the outside."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "tts_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS_FOLDER = Path(__file__).parent
TESTS = sorted(TESTS_FOLDER.rglob("*.py"))

FLOORS: Sequence[Sequence[str]] = (
    ("deprecation",),
    ("errors", "models", "config", "lazy_imports", "log"),
    ("attempt", "card"),
    ("money", "options", "periods"),
    ("text", "schema", "audio"),
    ("catalog", "wire", "storage"),
    ("flow", "source", "wal"),
    ("http", "dataset", "account"),
    ("ledger",),
    ("client", "cache", "report", "reconcile"),
    ("job", "browse", "exports"),
    ("frames",),
    ("estimates",),
    ("cli", "airflow"),
)
"""Rooms from the ground up: a module imports from floors below its own, or from its own room."""

FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
APART = "emulator"
APART_MAY_IMPORT = {"errors", "models", "config", "deprecation", "lazy_imports"}

OUTSIDE = {
    "airflow": {"airflow"},
    "httpx": {"http"},
    "aiohttp": {"http", "emulator", "browse"},
    "yarl": {"http"},
    "tenacity": {"flow"},
    "sqlite3": {"account"},
    "psycopg": {"account"},
    "polars": {"ledger", "frames", "estimates", "report", "reconcile", "browse", "exports", "cli", "airflow"},
    "espeakng_loader": {"emulator"},
    "datasets": {"exports"},
    "huggingface_hub": {"exports"},
    "lhotse": {"exports"},
}
"""Libraries that only some packages may import."""

HEARTS = ("client/synthesis", "client/exchange", "client/assembly", "job/execution", "dataset/commit", "wal/journal")
"""What is paid for goes through these: each has tests of its own, in a file of its own."""

OF_NO_MODULE: Mapping[str, str] = {
    ".": "attribution durability golden key_secrecy kill lost_disk money_property passwords public same_arguments"
    " structure wheel",
    "account": "budget_changes fork pots_property waiting",
    "airflow": "dag_imports dags fleet fork guarded operator_arguments page provider standalone tags",
    "browse": "first_paint ledger_page page",
    "catalog": "structures",
    "cli": "bad_input init living source_columns sources",
    "client": "company_network fuzz_wire without_audio",
    "dataset": "readers retry_rejects tables",
    "emulator": "answers",
    "estimates": "agreement",
    "exports": "hostile languages memory",
    "flow": "answers_without_audio limiter_budget limiter_room",
    "frames": "durability lazy notebook",
    "http": "request_cycle",
    "job": "empty growing leases limits lost_work_dir object_store passed_through read_only reject_guard repeats reuse"
    " ray second_interrupt wide_rows",
    "ledger": "damage object_store",
    "reconcile": "planted property real_runs",
    "wal": "full_disk",
    "wire": "fuzz",
}
"""Tests of what several modules promise together, or of one idea of a module, by room; all others stand where their
module does."""

READS_ENVIRONMENT = {"catalog/keys.py"}
READS_ENVIRONMENT_BELOW = ("cli", "airflow")


def _room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


@cache
def _nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def _imports(path: Path) -> Iterator[str]:
    for node in _nodes(path):
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


def test_imports_go_strictly_down() -> None:
    """A module imports only what stands below its floor, or its own package."""
    for path in MODULES:
        room = _room(path)
        if room == APART:
            assert _ours(path) <= APART_MAY_IMPORT | {APART}, path
        elif room not in {"__init__", "__main__"}:
            for other in _ours(path) - {room}:
                _check_import(path, room, other)


def _check_import(path: Path, room: str, other: str) -> None:
    if other == APART:
        assert room == "cli", f"{path}: only the command line starts the local service"
    else:
        assert FLOOR_OF[other] < FLOOR_OF[room], f"{path} (floor {FLOOR_OF[room]}) imports {other}"


def test_outside_is_touched_where_it_belongs() -> None:
    """Only the named packages import the libraries that reach outside."""
    for path in MODULES:
        for name in _imports(path):
            allowed = OUTSIDE.get(name.split(".")[0])
            assert allowed is None or _room(path) in allowed, f"{path} imports {name}"


def test_environment_is_read_at_the_edges() -> None:
    """Only the keys, the command line and Airflow's side read environment variables."""
    for path in MODULES:
        relative = path.relative_to(PACKAGE).as_posix()
        if relative in READS_ENVIRONMENT or _room(path) in READS_ENVIRONMENT_BELOW or _room(path) == APART:
            continue
        assert not any(map(_reads_environment, _nodes(path))), f"{relative} reads the environment"


def _reads_environment(node: ast.AST) -> bool:
    names = {"environ", "getenv"}
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and bool({name.name for name in node.names} & names)
    return isinstance(node, ast.Attribute) and node.attr in names and getattr(node.value, "id", "") == "os"


def test_every_room_has_its_floor() -> None:
    """A new top-level module or package needs a floor, and a floor has no rooms that are gone."""
    assert {_room(path) for path in MODULES} - {"__init__", "__main__", APART} == FLOOR_OF.keys()


def test_no_room_is_crowded() -> None:
    """No room holds more than 12 % of the package's lines."""
    lines: Counter[str] = Counter()
    for path in MODULES:
        lines[_room(path)] += len(path.read_text().splitlines())
    assert {room: count for room, count in lines.items() if count > 0.12 * lines.total()} == {}


def test_no_module_is_long() -> None:
    """A module of more than 400 lines holds two ideas: it is split; so is a module of tests."""
    lines = {path: len(path.read_text().splitlines()) for path in (*MODULES, *TESTS)}
    assert {path.name for path, count in lines.items() if count > 400} == set()


def test_tests_stand_where_their_modules_do() -> None:
    """Whoever changes a module finds its tests by its name; tests of no module are listed."""
    modules = {path.relative_to(PACKAGE).with_suffix("") for path in MODULES}
    rooms = {module.parent for module in modules}
    tests = {
        (room / path.stem.removeprefix("test_")) for room in rooms for path in (TESTS_FOLDER / room).glob("test_*.py")
    }
    assert tests - modules == {Path(room, name) for room, names in OF_NO_MODULE.items() for name in names.split()}
    assert set(map(Path, HEARTS)) <= tests & modules


def test_nothing_is_left_to_do() -> None:
    """What is not done stands in an issue, not in the package."""
    for path in MODULES:
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text()), path


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not even for types or inside a function: a circle is one module in several files."""
    graph = {_name(path): {name for name in _imported(path) if name != _name(path)} for path in MODULES}
    TopologicalSorter(graph).prepare()


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path) -> Iterator[str]:
    """Give the modules that a module imports, in any way; a package's own list of names is none of them."""
    names = {_name(module) for module in MODULES}
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            modules = [f"{node.module}.{name.name}" for name in node.names]
            yield from (module if module in names else node.module for module in modules if node.module in names)


IN_VIRTUAL_TIME = {"flow/test_rates.py"}


def test_tests_wait_with_patience() -> None:
    """A bound that tells waiting from not waiting grows on a busy machine: ``timeout=patience(60)``, never a number."""
    for path in TESTS:
        if path.relative_to(TESTS_FOLDER).as_posix() not in IN_VIRTUAL_TIME:
            for bound in filter(_is_a_second_or_more, chain.from_iterable(map(_bounds, _nodes(path)))):
                raise AssertionError(f"{path}:{bound.lineno}: patience({ast.unparse(bound)}), from tests.machine")


def _bounds(node: ast.AST) -> Iterator[ast.expr]:
    """Give what a call may wait for, and how far a deadline lies ahead."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _is_now(node.left):
        yield node.right
    elif isinstance(node, ast.Compare) and isinstance(node.left, ast.BinOp) and _is_now(node.left.left):
        yield from (bound for sign, bound in zip(node.ops, node.comparators, strict=True) if isinstance(sign, ast.Lt))
    elif isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "timeout")
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        yield from {"wait": node.args[:1], "join": node.args[:1], "wait_for": node.args[1:]}.get(name, [])


def _is_now(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "monotonic"


def _is_a_second_or_more(bound: ast.expr) -> bool:
    return isinstance(bound, ast.Constant) and isinstance(bound.value, int | float) and bound.value >= 1


_CONVERTED = {
    "tts_pipeline.dataset.claims": "Claim",
    "tts_pipeline.wal.replay": "JournalHeader",
    "tts_pipeline.cache.file_cache": "CacheRecord",
    "tts_pipeline.cache.dataset_cache": "CacheRecord",
    "tts_pipeline.storage.owner": "Owner",
    "tts_pipeline.ledger.datasets": "KnownDataset",
    "tts_pipeline.ledger.manifest": "Manifest",
    "tts_pipeline.ledger.runs": "Run",
}
"""What msgspec converts, by the module that does it, beside what decoders at the top of a module hold."""

_UNLEARNT = """
import dataclasses, importlib, sys, typing

def dataclasses_in(kind, seen):
    has_fields = hasattr(kind, "__struct_fields__") or dataclasses.is_dataclass(kind)
    if isinstance(kind, type) and has_fields and kind not in seen:
        seen.add(kind)
        if dataclasses.is_dataclass(kind):
            yield kind
        for hint in typing.get_type_hints(kind, include_extras=True).values():
            yield from dataclasses_in(hint, seen)
    for inner in typing.get_args(kind):
        yield from dataclasses_in(inner, seen)

for module, name in (argument.split(":") for argument in sys.argv[1:]):
    for each in dataclasses_in(getattr(importlib.import_module(module), name), set()):
        print(each.__name__, "" if "__msgspec_cache__" in vars(each) else "UNLEARNT")
"""


def test_msgspec_learns_dataclasses_before_there_are_threads() -> None:
    """Two threads that convert the first one at one time crash the process: it is met when its module is imported."""
    calls = {
        (f"tts_pipeline.{path.relative_to(PACKAGE).with_suffix('').as_posix().replace('/', '.')}", kind.id)
        for path in MODULES
        for node in _nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"msgspec.convert", "msgspec.json.decode"}
        for kind in (*node.args[1:], *(keyword.value for keyword in node.keywords if keyword.arg == "type"))
        if isinstance(kind, ast.Name)
    }
    assert calls == set(_CONVERTED.items())
    command = [sys.executable, "-c", _UNLEARNT, *(f"{module}:{name}" for module, name in _CONVERTED.items())]
    learnt = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert sorted(learnt) == ["Claim", "Price"]
