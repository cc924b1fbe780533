"""Whatever becomes of a file at a destination: no write outside, no raw exception, no bill below the truth.

``make fuzz`` does it with 5,000 files.
"""

from __future__ import annotations

import os
import re
import shutil
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.mutations import entry_points
from tests.mutations.mutations import Surroundings, mutations_for
from tests.mutations.specimens import REFUSED, SOURCE, Specimens
from tts_pipeline.emulator.local_service import LocalService

FINISHED = (0, 3)


@dataclass
class Case:
    """A copy of the specimens one of whose files was changed, between things that nobody may touch."""

    folder: Path
    specimens: Specimens
    service: LocalService
    chance: Random
    description: str = ""

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    @property
    def source(self) -> Path:
        return self.folder / SOURCE

    def at(self, name: str) -> Path:
        return self.folder / "inside" / name

    def copy(self, *names: str) -> None:
        for name in names:
            shutil.copytree(self.specimens.folder / name, self.at(name), symlinks=True)

    def prepare(self, name: str) -> None:
        """Copy a specimen and what goes with it, and change one of its files."""
        self.folder.mkdir(parents=True)
        shutil.copyfile(self.specimens.folder / SOURCE, self.source)
        (self.outside / "victim" / "deep").mkdir(parents=True)
        for place in ("victim.txt", "victim/part-00000.json", "victim/deep/file.txt"):
            (self.outside / place).write_text("do not touch")
        for place in ("victim.txt", "inside/victim.txt"):
            (self.folder / place).parent.mkdir(exist_ok=True)
            (self.folder / place).write_text("do not touch")
        for place in ("victim", "inside/victim"):
            (self.folder / place).mkdir()
            (self.folder / place / "file.txt").write_text("do not touch")
        self.copy(name)
        files = sorted(path for path in self.at(name).rglob("*") if path.is_file() and not path.is_symlink())
        path = self.chance.choice(files)
        shutil.copyfile(path, self.outside / "copy")
        change = self.chance.choice(mutations_for(path))
        self.description = f"{name}: {change.__name__} {path.relative_to(self.at(name))}"
        change(path, Surroundings(self.at(name), self.outside, files), self.chance)

    def guarded(self, *but: str) -> dict[Path, object]:
        """Return all there is outside the folder that an entry point may write."""
        allowed = [self.at(name) for name in but]
        return {path: _contents(path) for path in _below(self.folder, allowed)}


def _below(folder: Path, but: Sequence[Path]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path not in but:
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from _below(path, but)


def _contents(path: Path) -> object:
    if path.is_symlink():
        return path.readlink()
    return None if path.is_dir() else path.read_bytes()


def characters_charged(case: Case) -> int:
    return int(case.service.bill()["characters"])


def resume(case: Case, name: str) -> None:
    """A run goes on with the destination; its bill is not below the truth."""
    before = characters_charged(case)
    result = entry_points.run_command(entry_points.arguments(case.source, case.at(name), case.specimens.url))
    truth = case.specimens.truth[name] + characters_charged(case) - before
    if result.status in FINISHED:
        assert result.json["characters_upper_bound"] >= truth, result
        check_bill(case, name, truth)


def check_bill(case: Case, name: str, truth: int) -> None:
    """The report's bill is not below the truth, if there is one."""
    result = entry_points.report(case.at(name))
    if result.status == 0:
        total = sum(row["characters_upper_bound"] for row in result.json["report"])
        assert total >= truth, result


def export(case: Case, name: str) -> None:
    entry_points.export(case.at(name), case.at("new"), case.chance.choice(("files", "nemo", "huggingface")))


def reuse(case: Case, name: str) -> None:
    entry_points.run_command(
        entry_points.arguments(case.source, case.at("new"), case.specimens.url, "--reuse", str(case.at(name)))
    )


def rebuild(case: Case, name: str) -> None:
    more = ("--voice", "Stella", "--rebuild")
    entry_points.run_command(entry_points.arguments(case.source, case.at(name), case.specimens.url, *more))


def retry_rejects(case: Case, name: str) -> None:
    entry_points.run_command(entry_points.arguments(case.source, case.at(name), case.specimens.url, "--retry-rejects"))


def check_current_bill(case: Case, name: str) -> None:
    check_bill(case, name, case.specimens.truth[name])


def browse(case: Case, name: str) -> None:
    entry_points.browse(case.at(name))


def estimate(case: Case, name: str) -> None:
    entry_points.estimate(case.source, case.at(name), case.specimens.url)


def validate(case: Case, name: str) -> None:
    entry_points.validate(case.source, case.at(name), case.specimens.url)


def finalize(case: Case, name: str) -> None:
    entry_points.finalize(case.source, case.at(name), case.specimens.url)


READING = (check_current_bill, export, reuse, browse, estimate, validate, finalize)
WRITING = (resume, resume, resume, rebuild, retry_rejects)
DATASETS = ("finished", "half", "half", "lost", "swap")


def call_entry_points(case: Case) -> None:
    """Change a file and open some entry_points."""
    kind = case.chance.random()
    if kind < 0.8:
        name = case.chance.choice(DATASETS)
        case.prepare(name)
        guarded = case.guarded(name, "new")
        case.chance.choice(READING)(case, name)
        assert_same(case, guarded, name, "new")
        case.chance.choice(WRITING)(case, name)
        assert_same(case, guarded, name, "new")
    elif kind < 0.9:
        case.prepare("store")
        guarded = case.guarded("store", "new")
        reuse(case, "store")
        assert_same(case, guarded, "store", "new")
    else:
        name = case.chance.choice(("files", "files", "nemo", "huggingface"))
        case.prepare(name)
        case.copy("finished")
        guarded = case.guarded(name)
        entry_points.export(case.at("finished"), case.at(name), name)
        assert_same(case, guarded, name)


def assert_same(case: Case, guarded: Mapping[Path, object], *but: str) -> None:
    """Nothing was written, removed or made outside the folder that an entry point may write."""
    now = case.guarded(*but)
    changed = {str(place) for place in guarded.keys() | now.keys() if guarded.get(place, "-") != now.get(place, "-")}
    assert not changed


def run_cases(specimens: Specimens, service: LocalService, folder: Path, seeds: range) -> Iterator[str]:
    """Yield what went wrong."""
    service.set_faults([{"what": "refuse", "text": REFUSED}])
    for seed in seeds:
        case = Case(folder / str(seed), specimens, service, Random(seed))
        try:
            call_entry_points(case)
        except Exception:
            yield f"seed {seed}: {case.description}\n{traceback.format_exc()}"
        shutil.rmtree(case.folder)


def test_some_files(specimens: Specimens, tone_service: LocalService, tmp_path: Path) -> None:
    """Whatever becomes of a file: nothing is written outside, errors are ours, and no bill is short."""
    assert not list(run_cases(specimens, tone_service, tmp_path, range(25)))


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_many_files(specimens: Specimens, tone_service: LocalService, tmp_path: Path) -> None:
    """The same for 5,000 files."""
    first, count = (
        int(os.environ.get(f"TTS_FUZZ_{name}", default)) for name, default in (("FIRST", 0), ("COUNT", 5_000))
    )
    failed = list(run_cases(specimens, tone_service, tmp_path, range(first, first + count)))
    assert not failed, "\n".join([*failed[:20], *_by_place(failed)])


def _by_place(failed: list[str]) -> Iterator[str]:
    """Say where failures came from, the most frequent first, with one of each."""
    frames = [
        re.findall(r'File ".*?/((?:tts_pipeline|tests)/[^"]*)", line (\d+), in (\w+)', trace)[-1] for trace in failed
    ]
    for place, count in Counter(frames).most_common():
        lines = failed[frames.index(place)].splitlines()
        yield f"{count} x {' '.join(place)}: {lines[-1][:150]} | {lines[0]}"
