"""Run the local speech service from the command line, in the foreground or during a job."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog.service import normalise_url
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_status
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.emulator.options import EmulatorOptions, options_from, require_engine
from tts_pipeline.errors import ConfigurationError

URL_VARIABLE = "TTS_LOCAL_URL"
"""The variable with the URL of a running local service: then no service is started, and others can read its bill."""

_TIMEOUT_S = 10.0
_BILL_FIELDS = ("charged", "characters")


def emulate(arguments: argparse.Namespace) -> int:
    """Run the local service until a signal; one line of JSON on standard output has its URL. Return the exit status."""
    from tts_pipeline.emulator.serve import serve

    options = options_from(arguments)
    url = f"http://{options.host}:{options.port}" if options.port else "the url in the line of JSON below"
    print_status(
        f"The local speech service ({options.voice_mode}) starts. Use it from another shell:\n"
        f"  export {URL_VARIABLE}={url}\n"
        "  tts-pipeline run SOURCE DESTINATION --service local --model qwen3-tts-flash\n"
        "GET /emulator/bill returns its bill, PUT /emulator/faults sets its faults. Ctrl-C stops it."
    )
    serve(options)
    return OK


class LocalServiceRun:
    """Starts the local service while a job sends requests, and records the charges of the service for the job.

    Another service needs no start. ``environ`` may name a running local service. ``faults`` are the fault rules of a
    service that is started here.

    Raises:
        ConfigurationError: The local voice is not installed.
    """

    def __init__(self, service: Endpoint, environ: Mapping[str, str], faults: Sequence[Mapping[str, Any]] = ()) -> None:
        url = "" if service.base_url else environ.get(URL_VARIABLE, "")
        self._url = normalise_url(url) if url else None
        self._faults = faults
        self.charged: dict[str, int] | None = None
        """Requests and characters on the service's own bill for this job; None if no local service was used."""
        if not service.base_url and self._url is None:
            require_engine(EmulatorOptions())

    def check(self) -> None:
        """Check that the local service named in the environment runs, before anything is written."""
        if self._url is not None:
            _read_bill(self._url)

    @contextmanager
    def start_service(self, service: Endpoint) -> Iterator[Endpoint]:
        """Yield the service with its URL; start a local service if none runs."""
        if service.base_url:
            yield service
            return
        with ExitStack() as stack:
            url = self._url or self._start_process(stack)
            bill_before = _read_bill(url)
            yield replace(service, base_url=url)
            with suppress(ConfigurationError):  # the service stopped during the run, which has reported it
                bill_after = _read_bill(url)
                self.charged = {name: bill_after[name] - bill_before[name] for name in _BILL_FIELDS}

    def _start_process(self, stack: ExitStack) -> str:
        from tts_pipeline.emulator.local_service import LocalService

        local = stack.enter_context(LocalService())
        if self._faults:
            local.set_faults(self._faults)
        return local.url

    def compare_bills(self, ours: Totals) -> str | None:
        """Return a comparison of the service's bill with ours for this run; None if no local service was used."""
        if self.charged is None:
            return None
        requests, characters = self.charged["charged"], self.charged["characters"]
        agree = requests <= ours.attempts and ours.characters_billed <= characters <= ours.characters_upper_bound
        at_most = ours.characters_upper_bound
        bound = f" (at most {at_most:,})" if at_most != ours.characters_billed else ""
        return (
            f"the local service's own bill for this run: {requests:,} requests charged, {characters:,} characters; "
            f"ours: {ours.attempts:,} requests sent, {ours.characters_billed:,} characters{bound}; "
            f"they {'agree' if agree else 'DO NOT AGREE'}"
        )


def _read_bill(url: str) -> dict[str, int]:
    """Read a local service's bill, without the client, whose requests would be on our bill."""
    try:
        with closing(HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_S)) as connection:
            connection.request("GET", "/emulator/bill")
            bill = json.loads(connection.getresponse().read())
            return {name: int(bill[name]) for name in _BILL_FIELDS}
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"no local speech service answers at {url}",
            hint=f"start it by `tts-pipeline emulate`, or unset {URL_VARIABLE}: then the job starts one",
        ) from None
