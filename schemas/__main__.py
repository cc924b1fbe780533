"""Write the published schemas and the page about them from the code: ``python -m schemas``, from the checkout."""

from __future__ import annotations

import json
import re
from pathlib import Path

from schemas.request_body import schema_files
from schemas.tables import describe_table
from tts_pipeline.catalog import load_catalog
from tts_pipeline.schema import TABLES

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "tables.md"


def main() -> None:
    """Write a file for each table, a file for each model's request body, and the columns into the page."""
    for table in TABLES:
        text = json.dumps(describe_table(table), indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{table}.json").write_text(text, encoding="utf-8")
    for name, text in schema_files(load_catalog()).items():
        (FOLDER / "requests" / name).write_text(text, encoding="utf-8")
    PAGE.write_text(with_columns(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_columns(page: str) -> str:
    """Return the page with the current columns between ``<!-- columns of TABLE -->`` and ``<!-- end -->``."""
    place = re.compile(r"(<!-- columns of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return place.sub(lambda match: f"{match[1]}{_columns(match[2])}{match[3]}", page)


def _columns(table: str) -> str:
    rows = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in describe_table(table)["columns"]:
        kind = column["type"] + (", may be null" if column["nullable"] else "")
        rows.append(f"| `{column['name']}` | {kind.replace('|', '/')} | {column['unit'] or ''} | {column['meaning']} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
