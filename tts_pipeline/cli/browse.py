"""The command ``browse``: a page on this machine to listen to a dataset and to look at its bill."""

from __future__ import annotations

import argparse

from tts_pipeline.browse.serve import serve
from tts_pipeline.catalog.service import is_loopback_host
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_result, print_status
from tts_pipeline.storage.open_store import open_store


def browse(arguments: argparse.Namespace) -> int:
    """Serve the page until it is stopped; its URL is the one line of standard output. Returns the exit status."""

    def announce(url: str) -> None:
        print_status("Open this page in a browser. Ctrl-C ends it.")
        if not is_loopback_host(arguments.host):
            print_status("Everybody who reaches this address hears and reads the dataset: there is no password.")
        print_result(url)

    serve(open_store(arguments.dataset), arguments.host, arguments.port, announce)
    return OK
