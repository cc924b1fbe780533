"""A month of a company on one ledger: jobs of several teams, accounts, models and doors, each on a day of its own.

The clocks of the jobs are set to their day. The services' clocks are not: their bills are brought to the same days.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from tests.invoices import Charge
from tests.killing import COMMAND
from tts_pipeline.emulator.local_service import LocalService

SHANGHAI = ZoneInfo("Asia/Shanghai")
FLASH, INSTRUCT, BY_TOKEN = "qwen3-tts-flash", "qwen3-tts-instruct-flash", "qwen-tts"

_CATALOG = """
[services.{name}]
base_url = "{url}"
key_variable = "{variable}"
account = "{name}"
"""
_CARDS = """
[[cards]]
service = "{name}"
model = "qwen3-tts-flash"
like = ["dashscope/qwen3-tts-flash"]
requests_per_minute = 6000

[[cards]]
service = "{name}"
model = "qwen3-tts-instruct-flash"
like = ["dashscope/qwen3-tts-instruct-flash"]
requests_per_minute = 6000

[[cards]]
service = "{name}"
model = "qwen-tts"
like = ["dashscope/qwen-tts"]
requests_per_minute = 6000
"""
_PRICES = """
[prices.contract-old]
service = "north"
model = "qwen3-tts-flash"
currency = "CNY"
per_10k_characters = 0.65
effective_until = {change}

[prices.contract-new]
service = "north"
model = "qwen3-tts-flash"
currency = "CNY"
per_10k_characters = 0.7
effective_from = {change}
"""


def next_month(now: datetime) -> datetime:
    """Return the start of the next month in Shanghai."""
    local = now.astimezone(SHANGHAI)
    return datetime(local.year + local.month // 12, local.month % 12 + 1, 1, tzinfo=SHANGHAI)


@dataclass(frozen=True, slots=True)
class Moment:
    """A while in which the jobs' clocks were ahead of the services'."""

    began_s: float
    ended_s: float
    ahead_s: float


@dataclass(slots=True)
class Company:
    """What the jobs share: a ledger, prices, and a service with an account of its own in the north and in the south.

    Args:
        folder: For everything.
        services: By their names, which are also the accounts' names.
        start: The first instant of the month, in Shanghai.
    """

    folder: Path
    services: Mapping[str, LocalService]
    start: datetime
    moments: list[Moment] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        """Write the catalog and the prices; the contract of the north changes in the middle of the month."""
        parts = [
            _CATALOG.format(name=name, url=each.url, variable=_variable(name)) for name, each in self.services.items()
        ]
        cards = [_CARDS.format(name=name) for name in self.services]
        (self.folder / "catalog.toml").write_text("".join((*parts, *cards)))
        (self.folder / "prices.toml").write_text(_PRICES.format(change=self.price_change.date()))

    @property
    def price_change(self) -> datetime:
        """The first instant of the new contract."""
        return self.start + timedelta(days=14)

    @property
    def end(self) -> datetime:
        """The first instant after the month, in Shanghai."""
        return next_month(self.start)

    @property
    def ledger(self) -> Path:
        """The ledger's folder."""
        return self.folder / "ledger"

    def write_source(self, name: str, texts: Sequence[str]) -> Path:
        """Write the rows of a job."""
        path = self.folder / f"{name}.parquet"
        pq.write_table(pa.table({"id": [f"{name}-{number}" for number in range(len(texts))], "text": texts}), path)
        return path

    @contextmanager
    def at(self, day: float) -> Iterator[dict[str, str]]:
        """Set the clock to so many days after the month's start; yield the environment of processes."""
        began_s = time.time()
        ahead_s = (self.start + timedelta(days=day)).timestamp() - began_s
        keys = {_variable(name): f"the key of {name}" for name in self.services}
        clock = {"PYTHONPATH": str(Path(__file__).with_name("clock")), "TTS_TEST_CLOCK_AHEAD_S": str(ahead_s)}
        yield {
            **os.environ,
            **keys,
            **clock,
            "TTS_LEDGER": str(self.ledger),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        self.moments.append(Moment(began_s, time.time(), ahead_s))

    def run(self, day: float, name: str, account: str, *flags: str, kills: int = 0, status: int = 0) -> dict[str, Any]:
        """Run a job to its end on a day of the month, after it was killed some times; return its last line."""
        command = [
            *[str(COMMAND), "run", str(self.folder / f"{name}.parquet"), str(self.folder / "datasets" / name)],
            *["--service", account, "--catalog", str(self.folder / "catalog.toml"), "--part-rows", "20"],
            *["--prices", str(self.folder / "prices.toml"), "--max-concurrency", "4", "--quiet", "--json", *flags],
        ]
        with self.at(day) as environ:
            for _ in range(kills):
                self._kill(command, environ, self.services[account])
            process = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert process.returncode == status, process.stderr
        result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
        return result

    def _kill(self, command: Sequence[str], environ: Mapping[str, str], service: LocalService) -> None:
        before = service.bill()["received"]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and service.bill()["received"] - before < 8:
            time.sleep(0.005)
        time.sleep(self.chance.uniform(0, 0.1))  # the instant of the kill, which is the scenario
        process.kill()
        process.wait()

    def call(self, day: float, account: str, texts: Sequence[str], tags: Mapping[str, str]) -> None:
        """Call ``synthesize`` in a process of its own on a day of the month, as a notebook does."""
        code = f"""
import polars as pl
import tts_pipeline as tts
frame = pl.DataFrame({{"text": {list(texts)!r}}})
catalog = {str(self.folder / "catalog.toml")!r}
service = tts.find_service({account!r}, catalog=catalog)
options = tts.RunOptions(tags={dict(tags)!r})
spoken = tts.synthesize(frame, service, model={FLASH!r}, voice="Cherry", options=options, catalog=catalog)
assert spoken["error_class"].null_count() == {len(texts)}
"""
        with self.at(day) as environ:
            subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)

    def tts(self, *arguments: str, day: float = 40) -> str:
        """Run a short command, after the month's end; return what it printed."""
        with self.at(day) as environ:
            process = subprocess.run(
                [str(COMMAND), *arguments], env=environ, capture_output=True, text=True, check=False
            )
        assert process.returncode == 0, process.stderr
        return process.stdout

    def entries(self, account: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of a service's bill, at the time of the jobs' clocks."""
        for entry in self.services[account].bill(entries=True)["entries"]:
            received_s = entry["received_at"]
            (moment,) = (each for each in self.moments if each.began_s <= received_s <= each.ended_s)
            yield {**entry, "received_at": received_s + moment.ahead_s}

    def charges(self, account: str, zone: ZoneInfo = SHANGHAI) -> list[Charge]:
        """Return what a service charges for the month of a zone, at the prices of the day of arrival in Shanghai."""
        return [
            Charge(
                entry["request_id"],
                datetime.fromtimestamp(entry["received_at"], UTC),
                entry["model"],
                entry["characters"],
                self._amount(account, entry),
                account=account,
            )
            for entry in self.charged(account, zone)
        ]

    def _amount(self, account: str, entry: Mapping[str, Any]) -> Decimal:
        if entry["input_tokens"]:
            text, audio = Decimal(entry["input_tokens"]), Decimal(entry["output_tokens"])
            return (Decimal("1.6") * text + 10 * audio) / 1_000_000
        is_new = entry["received_at"] >= self.price_change.timestamp()
        is_contract = account == "north" and entry["model"] == FLASH
        per_10k = Decimal("0.8") if not is_contract else Decimal("0.7") if is_new else Decimal("0.65")
        return per_10k * Decimal(entry["characters"]) / 10_000

    def charged(self, account: str, zone: ZoneInfo = SHANGHAI) -> list[dict[str, Any]]:
        """Return the charged entries of the month of a zone."""
        first_s, end_s = (at.replace(tzinfo=zone).timestamp() for at in (self.start, self.end))
        entries = self.entries(account)
        return [entry for entry in entries if entry["charged"] and first_s <= entry["received_at"] < end_s]


def _variable(name: str) -> str:
    return f"{name.upper()}_API_KEY"


def texts(first: int, count: int) -> list[str]:
    """Return distinct texts by their numbers."""
    return [f"Line {number} says {'la ' * (number % 5)}." for number in range(first, first + count)]


def play(company: Company) -> None:
    """Play the month: 14 jobs of three teams."""
    north, south = company.services["north"], company.services["south"]
    flash, instruct, token = (("--model", model, "--voice", "Cherry") for model in (FLASH, INSTRUCT, BY_TOKEN))
    for name, first, count in (
        *[("news", 0, 60), ("tales", 100, 60), ("spots", 200, 30), ("letters", 300, 20), ("again", 0, 80)],
        *[("quiet", 400, 20), ("refused", 500, 20), ("before", 600, 10), ("after", 700, 10), ("gone", 800, 20)],
        *[("midnight", 900, 30), ("capped", 1000, 40)],
    ):
        company.write_source(name, texts(first, count))
    radio, books, ads = ("--tag", "team=radio"), ("--tag", "team=books"), ("--tag", "team=ads")
    company.run(0.5, "news", "north", *flash, *radio)
    north.set_faults(
        [{"what": "error", "status": 500, "ratio": 0.05, "seed": 1}, {"what": "cut", "ratio": 0.05, "seed": 2}]
    )
    company.run(2.5, "tales", "north", *flash, *books, kills=2)
    north.clear_faults()
    company.run(4.5, "spots", "south", *instruct, *ads)
    company.run(6.5, "letters", "south", *token, *radio)
    company.run(8.5, "again", "north", *flash, *books, "--reuse", str(company.folder / "datasets" / "news"))
    north.set_faults([{"what": "shape", "shape": "ali_data", "sound": "silent", "count": 4}])
    company.run(10.5, "quiet", "north", *flash, *radio, "--quality", "silent=retry")
    north.set_faults([{"what": "refuse", "text": "Line 50"}])
    company.run(12.5, "refused", "north", *flash, *ads, status=3)
    north.clear_faults()
    company.run(13.4, "refused", "north", *flash, *ads, "--retry-rejects")
    company.run(13.9, "before", "north", *flash, *ads)
    company.run(14.1, "after", "north", *flash, *ads)
    company.run(17.5, "news", "north", "--model", FLASH, "--voice", "Serena", *radio, "--rebuild")
    company.call(19.5, "south", texts(1_100, 5), {"team": "books"})
    company.run(21.5, "gone", "south", *instruct)
    company.run(24.5, "capped", "north", *flash, *radio, "--max-cost", "0.02CNY", status=4)
    month_days = (company.end - company.start) / timedelta(days=1)
    for service in (north, south):
        service.set_faults([{"what": "slow", "delay_s": 0.4}])
    company.run(month_days - 4 / 86_400, "midnight", "south", *instruct, *books)
    for service in (north, south):
        service.clear_faults()
