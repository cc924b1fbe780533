"""Run the command ``browse``: serve a page on this machine with a dataset's audio and bill."""

from __future__ import annotations

import argparse

from tts_pipeline.browse.serve import serve
from tts_pipeline.catalog.service import is_loopback_host
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_result, print_status
from tts_pipeline.storage.open_store import open_store


def browse(arguments: argparse.Namespace) -> int:
    """Serve the page until a signal; its URL is the only line of standard output. Return the exit status."""

    def announce(url: str) -> None:
        print_status("Open this page in a browser. Ctrl-C ends it.")
        if not is_loopback_host(arguments.host):
            print_status("Everybody who reaches this address can hear and read the dataset: the page has no password.")
        print_result(url)

    serve(open_store(arguments.dataset), arguments.host, arguments.port, announce)
    return OK
