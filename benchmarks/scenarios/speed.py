"""Measure rows per second and CPU per row, beside other clients."""

from __future__ import annotations

from benchmarks.answers import SHAPES, AnswerSpec
from benchmarks.contest import BARE, OURS, PEERS, TUNED, Arena, Course, Rounds
from benchmarks.scenarios.scenario import CPU, ROWS_PER_S, Outcome, Scenario, as_json, compare, peak_mb
from benchmarks.settings import PROCESS_S, Settings
from benchmarks.tables import Cell, Table

_COLUMNS = ("client", "rows/s", "x script", "CPU ms/row", "x script's", "peak MB")


def _expected_s(settings: Settings) -> float:
    runs = 2 * settings.rounds + settings.peer_rounds
    own_s = sum(settings.expected_s(settings.rows(each), each) for each in settings.concurrencies) * runs
    peers = len(settings.concurrencies) * len(PEERS) * settings.peer_rounds * (settings.peer_s + PROCESS_S)
    return len(settings.sizes) * (own_s + peers)


def _run(arena: Arena, settings: Settings) -> Outcome:
    tables, measured, promised = [], [], {}
    for size in settings.sizes:
        table = Table(
            f"Rows a second, answers of {size // 1_000} KB",
            ("in flight", *_COLUMNS),
            notes="Median (least-most) of the rounds. The script reads JSON and base64 by the standard library; beside "
            "it stands the same with orjson and pybase64. Scripts, httpx and ours are answered with base64 JSON; "
            "openai and litellm, which take nothing else, with the bytes. Seconds are from reading the source to the "
            "last byte on the disk; ours are the run's own, without planning. CPU is that of the whole process.",
        )
        for most in settings.concurrencies:
            course = Course(
                AnswerSpec(audio_bytes=size, latency_ms=settings.latency_ms), settings.rows(most), most, settings.peer_s
            )
            others = (TUNED, *PEERS)
            many, few = settings.rounds, settings.peer_rounds
            rounds = arena.contest(course, (BARE, OURS, *others), (many, many, *[few] * len(others)))
            table.rows.extend((most, *row) for row in table_rows(rounds))
            measured.append({"audio_bytes": size, "max_concurrency": most, "clients": as_json(rounds)})
            promised.update(_promised(rounds, f"{most}, {size // 1_000} KB"))
        tables.append(table)
    return Outcome(tables, measured, promised)


def table_rows(rounds: Rounds) -> list[list[Cell]]:
    """Return a table's rows, one for each contestant."""
    rows: list[list[Cell]] = []
    for name, runs in rounds.items():
        spreads = compare(rounds, name)
        figures: list[Cell] = [spreads[key] for key in (ROWS_PER_S, f"{ROWS_PER_S}_ratio", CPU, f"{CPU}_ratio")]
        rows.append([name, *figures, peak_mb(runs)])
    return rows


def _promised(rounds: Rounds, load: str) -> dict[str, float]:
    comparison = compare(rounds, OURS.name)
    figures = {
        f"rows/s x script at {load}": comparison[f"{ROWS_PER_S}_ratio"].median,
        f"CPU x script at {load}": comparison[f"{CPU}_ratio"].median,
        f"peak MB at {load}": peak_mb(rounds[OURS.name]),
    }
    for peer in PEERS:
        others = compare(rounds, peer.name)[ROWS_PER_S].median
        figures[f"rows/s x {peer.name} at {load}"] = comparison[ROWS_PER_S].median / others
    return figures


SPEED = Scenario("speed", "How fast, and at what cost, beside what people use instead?", _expected_s, _run)


def _shapes_expected_s(settings: Settings) -> float:
    one_s = settings.expected_s(settings.rows(settings.usual_concurrency), settings.usual_concurrency)
    return len(SHAPES) * 2 * settings.rounds * one_s


def _run_shapes(arena: Arena, settings: Settings) -> Outcome:
    most, rounds_each = settings.usual_concurrency, settings.rounds
    table = Table(
        f"The shapes of an answer, {settings.shape_bytes // 1_000} KB at {most} in flight", ("shape", *_COLUMNS)
    )
    measured = []
    for shape in SHAPES:
        course = Course(AnswerSpec(shape, settings.shape_bytes, settings.latency_ms), settings.rows(most), most)
        rounds = arena.contest(course, (BARE, OURS), (rounds_each, rounds_each))
        table.rows.extend((shape, *row) for row in table_rows(rounds))
        measured.append({"shape": shape, "max_concurrency": most, "clients": as_json(rounds)})
    return Outcome([table], measured)


SHAPE = Scenario("shapes", "Does it matter in which shape the audio comes?", _shapes_expected_s, _run_shapes)
