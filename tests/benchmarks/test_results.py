"""What is written of a measurement."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from benchmarks.contest import BARE
from benchmarks.results import Results
from benchmarks.scenarios.scenario import Outcome
from benchmarks.tables import Table


def test_results_name_versions_and_size_but_no_machine(tmp_path: Path) -> None:
    """A reader learns what it was measured with, not where: no host name, no path."""
    results = Results(quick=True)
    measurements = {"clients": {"ours": {"runs": [{"versions": {"aiohttp": "3.1"}}, {"versions": {"aiohttp": "3.2"}}]}}}
    results.add("speed", "How fast?", Outcome([Table("T", ("a",), [[1]])], measurements, {"goodput": 0.5}), 1.0)
    results.warn("WARNING: busy")
    results.write(tmp_path)
    facts = json.loads((tmp_path / "results.json").read_text())
    assert facts["versions"] == {"python": platform.python_version(), "aiohttp": "3.1, 3.2"}
    assert facts["machine"].keys() == {"cores", "memory_gib"}
    assert facts["measured"]["speed"] == measurements
    assert facts["promised"] == {"goodput": 0.5}
    page = (tmp_path / "results.md").read_text()
    assert "a quick look only" in page
    assert "### T" in page
    assert "WARNING: busy" in page
    assert platform.node() not in page + (tmp_path / "results.json").read_text()


def test_the_script_measures_the_machine(tmp_path: Path) -> None:
    """The bare script's CPU a row of all its contests stands at the head, for each size of answers."""
    clients = {BARE.name: {"runs": [{"cpu_s": 0.5, "rows": 1_000}, {"cpu_s": 0.3, "rows": 1_000}]}}
    results = Results(quick=True)
    for audio_bytes in (20_000, 48_000):
        entry = {"audio_bytes": audio_bytes, "clients": clients}
        results.add(f"speed-{audio_bytes}", "How fast?", Outcome([], [entry]), 1.0)
    results.write(tmp_path)
    page = (tmp_path / "results.md").read_text()
    assert "0.40 (0.30-0.50) with 20 KB; 0.40 (0.30-0.50) with 48 KB" in page
    assert page.index("measure of the machine") < page.index("What is promised")
