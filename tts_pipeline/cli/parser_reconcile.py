"""Parse the command ``reconcile``."""

from __future__ import annotations

import argparse
from typing import Any

from tts_pipeline.cli.parser_ledger import add_ledger_flag

_EPILOG = """\
INVOICE is the file that the vendor exports, as CSV. NAME is aliyun or openai; write a layout of your own for any other
file: docs/reconcile.md says how. A line with a request id is compared with that request, any other with its day or
month.

The bridge leads from the sum that the report confirms to the sum of the invoice: failed requests that were charged,
requests whose outcome was unknown, prices of another day, rounding, credits, other accounts and currencies; and what is
left, by kind. Each difference is a row of differences.parquet.

--settle adds what the invoice says to the ledger: from then on the report equals the invoice to the last digit. Run it
again when the vendor corrects the invoice: it adds only what still differs.

exit status: 0; 3 if there are differences that nothing explains; else as for 'tts-pipeline run'."""


def add_reconcile_command(subparsers: Any) -> dict[str, argparse.ArgumentParser]:
    """Add ``reconcile`` to the parser's commands; return its parser by name."""
    brief = "compare the usage with a vendor's invoice, and name every difference"
    parser = subparsers.add_parser("reconcile", help=brief, description=brief, epilog=_EPILOG)
    parser.add_argument("invoice", metavar="INVOICE", help="the vendor's file")
    parser.add_argument(
        "datasets", metavar="DATASET", nargs="*", help="compare with these datasets instead of the ledger"
    )
    parser.add_argument("--layout", metavar="NAME|FILE.toml", required=True, help="how to read the file")
    parser.add_argument(
        "--month", metavar="MONTH", help="the month of the invoice, such as 2026-11 (default: the months of its lines)"
    )
    parser.add_argument(
        "--service",
        metavar="NAME|URL",
        action="append",
        help="compare the usage of this service (default: the layout's); repeatable",
    )
    add_ledger_flag(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="differences.parquet",
        help="write the differences to this file, .parquet or .csv (default: %(default)s)",
    )
    parser.add_argument("--settle", action="store_true", help="make the report equal the invoice from now on")
    parser.add_argument("--json", action="store_true", help="print the bridge as one JSON object")
    return {"reconcile": parser}
