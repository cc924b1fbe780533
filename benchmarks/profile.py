"""Profile our CPU time per row, by thread and layer: ``python -m benchmarks.profile``."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from benchmarks.answers import SHAPES, AnswerSpec
from benchmarks.contest import write_source
from benchmarks.contestants import ours
from benchmarks.contestants.task import Task
from benchmarks.sampler import Sampler
from benchmarks.service import LoadService, load_service
from benchmarks.tables import Table

_LIBRARIES = {
    "aiohttp": "aiohttp",
    "yarl": "aiohttp",
    "multidict": "aiohttp",
    "httpx": "httpx",
    "httpcore": "httpx",
    "httpx_aiohttp": "httpx",
    "tenacity": "tenacity",
    "asyncio": "asyncio",
    "selectors.py": "asyncio",
    "concurrent": "asyncio",
    "pyarrow": "pyarrow",
    "numpy": "numpy",
}
_LEAST_SHARE = 0.005


@cache
def layer_of(filename: str) -> str | None:
    """Return the layer of a source file: our module, or a library; None for a file that many layers call."""
    parts = Path(filename).parts
    if "tts_pipeline" in parts and "site-packages" not in parts:
        place = len(parts) - 1 - parts[::-1].index("tts_pipeline")
        return "/".join(parts[place + 1 :])
    if "benchmarks" in parts:
        return "the harness"
    return next((_LIBRARIES[part] for part in parts[::-1] if part in _LIBRARIES), None)


def profile(service: LoadService, folder: Path, spec: AnswerSpec, rows: int, max_concurrency: int) -> Table:
    """Run our contestant once, in this process, and return its CPU time by layer."""
    source = folder / "profiled.parquet"
    write_source(source, rows)
    service.prepare(spec)
    task = Task(spec.base_url(service.origin), str(source), str(folder / "profiled"), max_concurrency)
    sampler = Sampler(layer_of)
    cpu_s = time.process_time()
    with sampler.running():
        ours.do(task)
    cpu_s = time.process_time() - cpu_s
    return _table(sampler.spent_s, cpu_s, rows, f"{spec.audio_bytes // 1_000} KB as {spec.shape}")


def _table(spent_s: Mapping[tuple[str, str], float], cpu_s: float, rows: int, case: str) -> Table:
    table = Table(
        f"Where our CPU per row goes, {case}",
        ("thread", "layer", "ms/row", "share"),
        notes="The library's time is its own, not that of what it calls. What is below a half percent is summed up. "
        "The main thread plans the job, then waits.",
    )
    small = 0.0
    for (thread, layer), one_s in sorted(spent_s.items(), key=lambda pair: -pair[1]):
        if one_s / cpu_s < _LEAST_SHARE:
            small += one_s
        else:
            table.rows.append([thread, layer, f"{1_000 * one_s / rows:.3f}", f"{one_s / cpu_s:.1%}"])
    table.rows.append(["all", "the rest", f"{1_000 * small / rows:.3f}", f"{small / cpu_s:.1%}"])
    table.rows.append(["all", "all", f"{1_000 * cpu_s / rows:.3f}", "100%"])
    return table


def main() -> None:
    """Profile a run with the settings of the command line, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--max-concurrency", type=int, default=256)
    parser.add_argument("--audio-bytes", type=int, default=20_000)
    parser.add_argument("--shape", choices=SHAPES, default="base64")
    parser.add_argument("--json", action="store_true", help="print title, columns and rows as one line of JSON")
    arguments = parser.parse_args()
    spec = AnswerSpec(arguments.shape, arguments.audio_bytes)
    logging.getLogger("tts_pipeline").setLevel(logging.ERROR)  # the load service has no prices: not worth a warning
    with load_service() as service, tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        table = profile(service, Path(folder), spec, arguments.rows, arguments.max_concurrency)
    result = {"title": table.title, "columns": table.columns, "rows": table.rows, "notes": table.notes}
    print(json.dumps(result) if arguments.json else table.to_markdown())


if __name__ == "__main__":
    main()
