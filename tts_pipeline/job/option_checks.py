"""Refuse a job with impossible options or an unreachable service."""

from __future__ import annotations

from typing import get_args

from tts_pipeline.catalog.keys import environment
from tts_pipeline.catalog.route import route_of
from tts_pipeline.catalog.service import is_loopback, refuse_plain_http
from tts_pipeline.config import MAX_LEASE_S, UnspeakableAction
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.http.tls import check_certificates
from tts_pipeline.job.job import Job, RunOptions
from tts_pipeline.source.parquet_source import Source


def check_run_options(options: RunOptions) -> None:
    """Refuse options with impossible values."""
    limits = options.limits
    counts = {
        "max_concurrency": limits.max_concurrency,
        "max_attempts": limits.max_attempts,
        "max_open_parts": options.max_open_parts,
        "part_rows": options.part_rows,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} is {value}", hint="give at least 1")
    if options.unspeakable not in get_args(UnspeakableAction):
        raise ConfigurationError(f"unspeakable is {options.unspeakable!r}", hint="give 'keep' or 'reject'")
    if options.ship_every_s is not None and options.ship_every_s <= 0:
        raise ConfigurationError(f"ship_every_s is {options.ship_every_s}", hint="give more than 0 seconds")
    if not 0 < options.lease_s <= MAX_LEASE_S:
        raise ConfigurationError(
            f"lease_s is {options.lease_s}", hint=f"give more than 0 seconds, and {MAX_LEASE_S:g} at most"
        )
    for tag, text in options.tags.items():
        if not (isinstance(tag, str) and isinstance(text, str)):
            raise ConfigurationError(f"the tag {tag!r} is {text!r}", hint="tags are text: put the value into quotes")


def refuse_unreachable(job: Job) -> None:
    """Refuse a service that needs a key and has none, or would get its key in clear text; check its certificates."""
    service = job.service
    if service.auth == "bearer" and not service.api_key and not is_loopback(service.base_url):
        raise ConfigurationError(
            f"service {service.name!r} needs a key", hint="set its `api_key`, or take it from tts.find_service(name)"
        )
    refuse_plain_http(service)
    check_certificates(route_of(service, environment()))


def refuse_unknown_columns(job: Job, source: Source) -> None:
    """Refuse tag columns that the source lacks."""
    for tag, column in job.options.tag_columns.items():
        if column not in source.schema.names:
            hint = did_you_mean(column, source.schema.names) + "use `tag_columns={'KEY': 'COLUMN'}`"
            raise ConfigurationError(f"the source has no column {column!r} for the tag {tag!r}", hint=hint)
