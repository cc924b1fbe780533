"""The provider as Airflow finds it: by its entry point, in the form of its schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

import airflow
import jsonschema
from airflow.providers_manager import ProvidersManager
from airflow.sdk import task
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from tts_pipeline.airflow import get_provider_info
from tts_pipeline.airflow.links import SpeechReportLink

_FORM = {
    "service",
    "dialect",
    "account",
    "query",
    "headers",
    "key_header",
    "key_prefix",
    "ca_file",
    "proxy",
    "timeout_s",
    "max_concurrency",
    "requests_per_minute",
    "characters_per_minute",
    "account_concurrency",
    "account_store",
    "ledger",
    "report_url",
}


def _schema(name: str) -> Any:
    return json.loads((Path(airflow.__file__).parent / name).read_text())


def test_provider_info_has_the_form_that_airflow_asks_for() -> None:
    """By the schema of what is installed, and by the stricter one of what is published, where it has the same keys."""
    info = get_provider_info()
    jsonschema.validate(info, _schema("provider_info.schema.json"))
    published = _schema("provider.yaml.schema.json")["properties"]
    for key in ("connection-types", "task-decorators", "hooks", "operators", "integrations"):
        jsonschema.validate(info[key], {**published[key], "definitions": {}})


def test_everything_that_is_named_is_there() -> None:
    """Modules import, classes and functions exist."""
    info = get_provider_info()
    for kind in ("hooks", "operators"):
        for module in info[kind][0]["python-modules"]:
            import_module(module)
    paths = [
        info["connection-types"][0]["hook-class-name"],
        *info["extra-links"],
        *(each["class-name"] for each in info["task-decorators"]),
    ]
    for path in paths:
        module, _, name = path.rpartition(".")
        assert callable(getattr(import_module(module), name))


def test_every_operator_module_is_named() -> None:
    """A new one is in the catalogue."""
    folder = Path(str(import_module("tts_pipeline.airflow.operators").__file__)).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    module_names = get_provider_info()["operators"][0]["python-modules"]
    assert {name.rpartition(".")[2] for name in module_names} == modules


def test_airflow_finds_the_provider() -> None:
    """By the entry point of the installed package: connection form, hook, link, decorator."""
    (entry_point,) = [
        each for each in entry_points(group="apache_airflow_provider") if each.module == "tts_pipeline.airflow"
    ]
    assert entry_point.load() is get_provider_info
    manager: Any = ProvidersManager()  # type: ignore[no-untyped-call]  # has no types, as of 3.3.2
    runtime = ProvidersManagerTaskRuntime()  # type: ignore[no-untyped-call]  # nor has this
    assert "tts-pipeline" in manager.providers
    form = {name for name in manager.connection_form_widgets if name.startswith("extra__speech__")}
    assert {name.removeprefix("extra__speech__") for name in form} == _FORM
    assert manager.field_behaviours["speech"]["relabeling"]["password"] == "API key"
    hook = runtime.hooks["speech"]
    assert hook is not None
    assert (hook.connection_testable, hook.connection_id_attribute_name) == (True, "speech_conn_id")
    link = SpeechReportLink
    assert f"{link.__module__}.{link.__name__}" in manager.extra_links_class_names
    assert callable(task.speech)


@pytest.mark.parametrize("module", ["tts_pipeline", "tts_pipeline.airflow", "tts_pipeline.job", "tts_pipeline.cli"])
def test_the_core_knows_no_airflow(module: str) -> None:
    """Nor does what Airflow loads into each of its processes import anything heavy."""
    heavy = ["airflow", "pyarrow", "polars"] if module in {"tts_pipeline", "tts_pipeline.airflow"} else ["airflow"]
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
