"""Parse the command ``report``."""

from __future__ import annotations

import argparse

REPORT_FORMATS = ("table", "markdown", "csv", "parquet", "json", "focus")

REPORT_EPILOG = """\
Every request that may have cost money is a row of a usage table; the report adds these rows up. Without
DATASET it reads the ledger, which has the usage of all jobs and calls, also of datasets that are gone.

--by NAME may be given several times: month, day, hour, model, voice, service, account, key_id, dataset, door
(run, synthesize, airflow, ...), kind, outcome, error_code, price_basis, invocation_id or tag:KEY. What has no
such tag is a row of its own. Months, days and hours are those of --timezone, and so are --month, --from and
--until. --where is SQL over the columns of the usage table, in which tag:KEY is a column.

Different currencies are never added up. An unknown cost is empty, and requests_without_cost counts the
requests with an unknown cost. docs/cost-and-budgets.md describes all columns.

--reprice computes cost, bounds and list cost anew from the characters and tokens of each request, at the
prices of a file as 'run --prices' takes it, beside those of the bill. Nothing is sent or changed.

--format focus writes FOCUS 1.2 for cost tools, a row for each day, account, model, price and set of tags: one
CSV or Parquet file, or files that can be uploaded if --output is a folder. docs/focus.md describes the columns."""


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``report``."""
    parser.add_argument("datasets", metavar="DATASET", nargs="*", help="a folder or a URL (default: the ledger)")
    parser.add_argument("--ledger", metavar="DIR|URL", help="the ledger to read (default: TTS_LEDGER, else your own)")
    period = parser.add_argument_group("which requests")
    period.add_argument("--month", metavar="YYYY-MM", help="only those of this month")
    period.add_argument("--from", dest="since", metavar="DAY", help="only those from this day or instant on")
    period.add_argument("--until", metavar="DAY", help="only those before this day or instant")
    period.add_argument(
        "--timezone", metavar="ZONE", default="UTC", help="such as Asia/Shanghai (default: %(default)s)"
    )
    period.add_argument("--where", metavar="SQL", help="only those that meet this condition: \"tag:team = 'radio'\"")
    parser.add_argument("--by", metavar="NAME", action="append", default=[], help="group by this")
    parser.add_argument("--reprice", metavar="FILE.toml", help="show the sums at the prices of this file, too")
    parser.add_argument(
        "--format", metavar="|".join(REPORT_FORMATS), choices=REPORT_FORMATS, help="default: by FILE's name, else table"
    )
    parser.add_argument("--output", metavar="FILE", help="write the report to this file instead of printing it")
    parser.add_argument("--prices", metavar="FILE.toml", help="with --format focus: your own prices in the bill")
