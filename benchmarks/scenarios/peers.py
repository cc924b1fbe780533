"""Measure CPU and rows per second beside other clients."""

from __future__ import annotations

from benchmarks.answers import AnswerSpec
from benchmarks.contest import BARE, OURS, PEERS, TUNED, Arena, Course, Rounds
from benchmarks.scenarios.scenario import CPU, ROWS_PER_S, Outcome, Scenario, as_json, compare, peak_mb
from benchmarks.settings import PROCESS_S, Settings
from benchmarks.tables import Cell, Table

_CONTESTANTS = (BARE, OURS, TUNED, *PEERS)


def _loads(settings: Settings) -> list[tuple[int, int]]:
    """Return sizes of answers with requests in flight; large answers only with the most in flight."""
    large = (settings.large_bytes, settings.peer_concurrencies[-1])
    return [*((settings.sizes[0], most) for most in settings.peer_concurrencies), large]


def _expected_s(settings: Settings) -> float:
    scripts_s = sum(3 * settings.expected_s(settings.rows(most), most) for _, most in _loads(settings))
    return scripts_s + len(_loads(settings)) * len(PEERS) * (settings.peer_s + PROCESS_S)


def _run(arena: Arena, settings: Settings) -> Outcome:
    table = Table(
        "Beside other clients",
        ("KB", "in flight", "client", "CPU x script's", "CPU ms/row", "rows/s x script's", "rows/s", "peak MB"),
        notes="One round, cores free. The script reads JSON and base64 by the standard library; beside it stands the "
        "same with orjson and pybase64. Scripts, httpx and ours are answered with base64 JSON; openai and litellm, "
        f"which take nothing else, with the bytes. openai, litellm and httpx stop after {settings.peer_s:g} s.",
    )
    measured, promised = [], {}
    for audio_bytes, most in _loads(settings):
        spec = AnswerSpec(audio_bytes=audio_bytes, latency_ms=settings.latency_ms)
        course = Course(spec, settings.rows(most), most, stop_after_s=settings.peer_s)
        rounds = arena.contest(course, _CONTESTANTS, [1] * len(_CONTESTANTS))
        table.rows.extend([audio_bytes // 1_000, most, *row] for row in _table_rows(rounds))
        measured.append({"audio_bytes": audio_bytes, "max_concurrency": most, "clients": as_json(rounds)})
        promised.update(_promised(rounds, f"{most}, {audio_bytes // 1_000} KB"))
    return Outcome([table], measured, promised)


def _table_rows(rounds: Rounds) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for name, runs in rounds.items():
        spreads = compare(rounds, name)
        keys = (f"{CPU}_ratio", CPU, f"{ROWS_PER_S}_ratio", ROWS_PER_S)
        rows.append([name, *(spreads[key].median for key in keys), peak_mb(runs)])
    return rows


def _promised(rounds: Rounds, load: str) -> dict[str, float]:
    speeds = {name: compare(rounds, name)[ROWS_PER_S].median for name in rounds}
    return {f"rows/s x {peer.name} at {load}": speeds[OURS.name] / speeds[peer.name] for peer in PEERS}


BESIDE_PEERS = Scenario("peers", "How much CPU, and how fast, beside what people use instead?", _expected_s, _run)
