"""A password in a URL of a source, a destination or a reuse store is shown nowhere."""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.builders import job_of, write_lines
from tests.cli.conftest import LOCAL, Command, CommandResult, MakeSource
from tests.cli.conftest import command as command  # noqa: PLC0414 (fixtures of another folder)
from tests.cli.conftest import local as local  # noqa: PLC0414
from tests.cli.conftest import make_source as make_source  # noqa: PLC0414
from tests.postgres import PASSWORD as POSTGRES_PASSWORD
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError, StorageError, TtsPipelineError
from tts_pipeline.job import run_job
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.storage.location import FsspecPath
from tts_pipeline.storage.open_store import open_store

PASSWORD = "hunter2/Z9+x"


@pytest.fixture
def bucket() -> Iterator[str]:
    """A folder in memory, named with a user and a password."""
    root = f"AKIA7:{PASSWORD}@{uuid.uuid4().hex}"
    yield f"memory://{root}"
    fsspec.filesystem("memory").rm(f"/{root}", recursive=True)


@pytest.mark.usefixtures("local")
def test_no_command_shows_a_password(
    command: Command, make_source: MakeSource, bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In results, JSON, errors, logs and warnings; nor in a file of the dataset or of the journals."""
    caplog.set_level(logging.DEBUG)
    source, out = make_source(), f"{bucket}/out?sig={PASSWORD}"
    flags = (*LOCAL, "--voice", "Cherry", "--work-dir", tmp_path / "work")
    remote = f"{bucket}/in/lines.parquet"
    fsspec.filesystem("memory").put(str(source), remote.removeprefix("memory:/"))
    results = [
        command("run", remote, out, *flags, "--reuse", f"{bucket}/kept"),
        command("run", remote, out, *flags, "--json"),
        command("validate", remote, out, *flags),
        command("validate", remote, out, *flags, "--json"),
        command("report", out, "--by", "dataset"),
        command("report", out, "--by", "dataset", "--format", "json"),
        command("export", out, tmp_path / "files", "--as", "files"),
        command("export", out, f"{bucket}/exported", "--as", "files", "--json"),
    ]
    assert [result.status for result in results] == [0] * len(results), results
    failing = [
        command("run", f"{bucket}/none.parquet", out, *flags),
        command("run", remote, out, *flags, "--set", "speed=1.5"),
        command("report", f"{bucket}/nothing"),
        command("export", f"{bucket}/nothing", tmp_path / "x", "--as", "files"),
        command("run", source, f"nosuch://u:{PASSWORD}@x/out", *flags),
    ]
    assert {result.status for result in failing} == {2}
    outputs = [f"{result.out}{result.err}" for result in (*results, *failing)]
    outputs += [
        str([record.getMessage() for record in caplog.records if record.name == "tts_pipeline"]),
        str(Snapshot(open_store(out, tmp_path)).summary()),
    ]
    stored = fsspec.filesystem("memory").find(bucket.removeprefix("memory:/"))
    outputs += [fsspec.filesystem("memory").cat_file(path).decode("latin-1") for path in stored]
    outputs += [f"{path}{path.read_text('latin-1')}" for path in tmp_path.rglob("*") if path.is_file()]
    assert [text for text in outputs if PASSWORD in text or "hunter2" in text] == []


@pytest.mark.usefixtures("local")
def test_no_command_shows_the_password_of_the_account_store(
    command: Command, make_source: MakeSource, postgres: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of a store that is used, nor of one that cannot be; nor is its place in a file of the dataset."""
    caplog.set_level(logging.DEBUG)
    source, out, file = make_source(), tmp_path / "out", tmp_path / "job.toml"
    flags = (*LOCAL, "--voice", "Cherry", "--requests-per-minute", "6000")

    def run(store: str, name: str, *more: str) -> CommandResult:
        file.write_text(f'account_store = "{store}"\n')
        return command("run", source, out / name, *flags, "--config", file, *more)

    good = [run(postgres, "used"), run(postgres, "used", "--json")]
    wrong = [
        run(f"{postgres}_of_nobody", "missing"),
        run(f"postgresql://u:{POSTGRES_PASSWORD}/x@127.0.0.1/d", "unreadable"),
        run(f"postgresql://u:{POSTGRES_PASSWORD}@x@127.0.0.1/d", "not encoded"),
        run(f"postgresql://u:{POSTGRES_PASSWORD} x@127.0.0.1/d", "not encoded"),
        run(postgres, "flag", "--account-store", postgres),
    ]
    assert [result.status for result in (*good, *wrong)] == [0, 0, 2, 2, 2, 2, 2], wrong
    outputs = [f"{result.out}{result.err}" for result in (*good, *wrong)] + [caplog.text]
    outputs += [f"{path}{path.read_text('latin-1')}" for path in out.rglob("*") if path.is_file()]
    assert [text for text in outputs if POSTGRES_PASSWORD in text] == []
    stored = [path.read_text("latin-1") for path in out.rglob("*") if path.is_file()]
    assert [text for text in stored if postgres.rpartition("/")[2] in text] == []


class _Broken:
    """A driver that has the whole URL in its errors."""

    protocol = "s3"

    def __init__(self, kind: type[Exception] = OSError) -> None:
        self._kind = kind

    def _strip_protocol(self, url: str) -> str:
        return url.removeprefix("s3://")

    def __getattr__(self, name: str) -> Any:
        def fail(*args: Any, **_: Any) -> Any:
            raise self._kind(f"{name} of AKIA7:{PASSWORD}@bucket failed", args)

        return fail


def test_a_drivers_error_is_told_without_it(tone_service: LocalService, tmp_path: Path) -> None:
    """Also in the traceback, and in what a job and a place look like."""
    place = FsspecPath(f"s3://AKIA7:{PASSWORD}@bucket/out", _Broken())
    write_lines(tmp_path / "lines.parquet", 2)
    job = job_of(
        tmp_path, tone_service.url, destination=place, options={"work_dir": tmp_path / "work", "reuse": place.url}
    )
    with pytest.raises((StorageError, ConfigurationError)) as exc_info:
        run_job(job)
    text = "".join(traceback.format_exception(exc_info.value)) + f"{job!r} {place!r} {place} {exc_info.value.args}"
    assert "hunter2" not in text


@pytest.mark.parametrize("kind", [OSError, LookupError, Exception])
def test_a_source_that_its_driver_refuses_is_a_wrong_setting(kind: type[Exception]) -> None:
    """Whatever the driver raises: botocore's own errors, of credentials that are missing too, are no OSError."""
    with pytest.raises(ConfigurationError, match="cannot open the source") as exc_info:
        open_source(FsspecPath(f"s3://AKIA7:{PASSWORD}@bucket/in", _Broken(kind)))
    assert "hunter2" not in "".join(traceback.format_exception(exc_info.value))


def test_an_error_drops_it_wherever_it_stands() -> None:
    """In the message, the hint and the arguments."""
    error = TtsPipelineError(f"cannot open 's3://a:{PASSWORD}@b/c'", hint=f"see https://u:{PASSWORD}@h/?k={PASSWORD}")
    assert "hunter2" not in f"{error} {error!r} {vars(error)}"
