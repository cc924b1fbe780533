"""Declare the Apache Airflow provider: connection ``speech``, hook, operators, ``@task.speech``, ``speech_dataset``.

Every process of Airflow loads this module by its entry point, so that it imports nothing.
"""

from __future__ import annotations

from typing import Any

_HERE = "tts_pipeline.airflow"
_INTEGRATION = "Speech"
_OPERATORS = ("synthesize", "shards", "export", "usage_report")


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description for Airflow, in the form of ``airflow/provider.yaml.schema.json``."""
    return {
        "package-name": "tts-pipeline",
        "name": _INTEGRATION,
        "description": "Bulk text-to-speech: text rows in; audio, word timestamps and an exact bill out.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://pypi.org/project/tts-pipeline/",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": [f"{_HERE}.hook"]}],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [f"{_HERE}.operators.{name}" for name in _OPERATORS],
            }
        ],
        "connection-types": [_connection_type()],
        "extra-links": [f"{_HERE}.links.SpeechReportLink"],
        "task-decorators": [{"name": "speech", "class-name": f"{_HERE}.decorator.speech_task"}],
    }


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "speech",
        "hook-class-name": f"{_HERE}.hook.SpeechHook",
        "hook-name": _INTEGRATION,
        "ui-field-behaviour": {
            "hidden-fields": ["login", "port", "schema", "extra"],
            "relabeling": {"host": "Service or base URL", "password": "API key"},
            "placeholders": {"host": "modelstream, or https://gateway.example"},
        },
        "conn-fields": _connection_fields(),
    }


def _connection_fields() -> dict[str, Any]:
    return {
        "service": _field(
            "Known service",
            "The service's name in the catalog, if the base URL above is another address of it; datasets store it",
            "string",
        ),
        "dialect": _field(
            "Dialect",
            "The form of requests; empty is the dialect of the catalog, else openai",
            "string",
            enum=["openai", "dashscope", None],
            values_display={"null": "the dialect of the catalog"},
        ),
        "account": _field("Account", "A label for the bill, never the key", "string"),
        "query": _field("Query", 'Added to the URL of every request, as JSON: {"api-version": "2025-03-01"}', "string"),
        "headers": _field("Headers", "Sent with every request, as JSON of names and values, never a key", "string"),
        "key_header": _field("Header of the key", "Empty is Authorization, with Bearer before the key", "string"),
        "key_prefix": _field("Prefix of the key", "A word before the key in that header", "string"),
        "ca_file": _field(
            "CA file", "A file on the workers with certificates to trust besides the public ones", "string"
        ),
        "proxy": _field("Proxy", "Such as http://proxy:3128; none is no proxy; empty is HTTPS_PROXY", "string"),
        "timeout_s": _field(
            "Timeout (s)", "The longest silence of the service within a request", "number", **_POSITIVE
        ),
        "max_concurrency": _field("Requests in flight", "The most, for a task", "integer", minimum=1),
        "requests_per_minute": _field("Requests per minute", _FOR_THE_ACCOUNT, "number"),
        "characters_per_minute": _field("Characters per minute", _FOR_THE_ACCOUNT, "number"),
        "account_concurrency": _field(
            "Requests in flight of the account", "The most, for all tasks together", "integer", minimum=1
        ),
        "account_store": _field(
            "Account store",
            "Where tasks share the account's rates, pauses and budgets: the id of a Postgres connection, a URL without "
            "a password, a path on the workers (for the tasks of one machine), or none; empty is TTS_ACCOUNT_STORE, "
            "else a file of each worker",
            "string",
        ),
        "ledger": _field(
            "Ledger",
            "Where the usage of all tasks is kept: a path on the workers, a URL such as s3://conn_id@bucket/ledger, or "
            "none; empty is TTS_LEDGER, else a folder of each worker",
            "string",
        ),
        "report_url": _field(
            "Report URL",
            "The link of tasks: the address of a dataset's page, with {dataset} in it; empty is the dataset itself",
            "string",
        ),
    }


_FOR_THE_ACCOUNT = "The most, for the account: all jobs and tasks that share an account store"
_POSITIVE = {"exclusiveMinimum": 0}


def _field(label: str, description: str, kind: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}
