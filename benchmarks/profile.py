"""Profile our CPU time per row by layer, and by thread and module: ``python -m benchmarks.profile``."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
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
LAYERS = ("transport", "reading", "sound", "limiter", "journal", "publishing", "start-up", "other")
LAYER_NOTES = (
    "Transport is http/, aiohttp and asyncio; reading is wire/ with JSON and base64; sound is audio/ and numpy; the "
    "limiter is flow/, client/, job/ and the reader of the source; journal is wal/ with the claim and the thread that "
    "writes it; publishing is the publisher's thread; start-up is the main thread, which plans and finalizes, here "
    "divided by the rows; other is outside of Python's threads."
)
_LAYER_OF_THREAD = {
    "main": "start-up",
    "source-reader": "limiter",
    "journal-writer": "journal",
    "publisher": "publishing",
}
_LAYER_OF_MODULE = {
    "http/": "transport",
    "aiohttp": "transport",
    "httpx": "transport",
    "asyncio": "transport",
    "wire/": "reading",
    "client/answer_reader.py": "reading",
    "audio/": "sound",
    "numpy": "sound",
    "wal/": "journal",
    "dataset/active_part.py": "journal",
    "dataset/claim": "journal",
    "storage/lease.py": "journal",
    "dataset/": "publishing",
    "storage/": "publishing",
    "schema.py": "publishing",
    "pyarrow": "publishing",
    "other": "other",
}
"""Layers of modules by the start of their names, the first match; all others are the limiter's."""

_HARNESS = "the harness"
_OTHER = "other"
_LEAST_SHARE = 0.005

ModuleCosts = list[tuple[str, str, float]]
"""Thread, module, and CPU ms per row."""


@cache
def module_of(filename: str) -> str | None:
    """Return the owner of a source file: our module, asyncio's, or a library; None for a file that many call."""
    parts = Path(filename).parts
    if "tts_pipeline" in parts and "site-packages" not in parts:
        place = len(parts) - 1 - parts[::-1].index("tts_pipeline")
        return "/".join(parts[place + 1 :])
    if "benchmarks" in parts:
        return _HARNESS
    library = next((_LIBRARIES[part] for part in parts[::-1] if part in _LIBRARIES), None)
    return f"asyncio/{parts[-1]}" if library == "asyncio" else library


def layer_of(thread: str, module: str) -> str:
    """Return the layer of what a thread did in a module."""
    of_module = next((layer for start, layer in _LAYER_OF_MODULE.items() if module.startswith(start)), "limiter")
    return _LAYER_OF_THREAD.get(thread, of_module)


def profile(service: LoadService, folder: Path, spec: AnswerSpec, rows: int, max_concurrency: int) -> ModuleCosts:
    """Run our contestant once, in this process, and return its CPU time by module, without the harness's."""
    source = folder / "profiled.parquet"
    write_source(source, rows)
    service.prepare(spec)
    task = Task(spec.base_url(service.origin), str(source), str(folder / "profiled"), max_concurrency)
    sampler = Sampler(module_of)
    cpu_s = time.process_time()
    with sampler.running():
        ours.do(task)
    spent_s = {**sampler.spent_s, ("all", _OTHER): time.process_time() - cpu_s - sum(sampler.spent_s.values())}
    costs = [(thread, module, 1_000 * one_s / rows) for (thread, module), one_s in spent_s.items()]
    return sorted((cost for cost in costs if cost[1] != _HARNESS), key=lambda cost: -cost[2])


def by_layer(costs: ModuleCosts) -> dict[str, float]:
    """Return CPU ms per row of each layer."""
    sums = dict.fromkeys(LAYERS, 0.0)
    for thread, module, cost_ms in costs:
        sums[layer_of(thread, module)] += cost_ms
    return sums


def module_table(costs: ModuleCosts, case: str) -> Table:
    """Return the table by thread and module; what is below a half percent is summed up."""
    table = Table(
        f"By thread and module, {case}",
        ("thread", "module", "layer", "ms/row", "share"),
        notes="A library's time is its own, not that of what it calls; C code counts as its caller's.",
    )
    total_ms, small_ms = sum(cost[2] for cost in costs), 0.0
    for thread, module, cost_ms in costs:
        if cost_ms / total_ms < _LEAST_SHARE:
            small_ms += cost_ms
        else:
            table.rows.append([thread, module, layer_of(thread, module), f"{cost_ms:.3f}", f"{cost_ms / total_ms:.1%}"])
    table.rows.append(["all", "the rest", "-", f"{small_ms:.3f}", f"{small_ms / total_ms:.1%}"])
    table.rows.append(["all", "all", "-", f"{total_ms:.3f}", "100%"])
    return table


def layer_table(costs: ModuleCosts, case: str) -> Table:
    """Return the table by layer."""
    sums = by_layer(costs)
    rows = [[layer, f"{cost_ms:.3f}"] for layer, cost_ms in [*sums.items(), ("all", sum(sums.values()))]]
    return Table(f"By layer, {case}", ("layer", "ms/row"), [*rows], notes=LAYER_NOTES)


def main() -> None:
    """Profile a run with the settings of the command line, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--max-concurrency", type=int, default=256)
    parser.add_argument("--audio-bytes", type=int, default=20_000)
    parser.add_argument("--shape", choices=SHAPES, default="base64")
    parser.add_argument("--json", action="store_true", help="print thread, module and ms of each, in one line")
    arguments = parser.parse_args()
    spec = AnswerSpec(arguments.shape, arguments.audio_bytes)
    logging.getLogger("tts_pipeline").setLevel(logging.ERROR)  # the load service has no prices: not worth a warning
    with load_service() as service, tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        costs = profile(service, Path(folder), spec, arguments.rows, arguments.max_concurrency)
    if arguments.json:
        print(json.dumps({"costs": costs}))
        return
    case = f"{arguments.audio_bytes // 1_000} KB as {arguments.shape}, {arguments.max_concurrency} in flight"
    print(layer_table(costs, case).to_markdown(), module_table(costs, case).to_markdown(), sep="\n")


if __name__ == "__main__":
    main()
