"""Write the published schemas from the code: ``python -m schemas``, from the checkout."""

from __future__ import annotations

import json
from pathlib import Path

from tts_pipeline.catalog import load_catalog
from tts_pipeline.catalog.request_schema import schema_files
from tts_pipeline.schema import TABLES, describe

FOLDER = Path(__file__).parent


def main() -> None:
    """Write one file for every table and one for every model's request body."""
    for table in TABLES:
        text = json.dumps(describe(table), indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{table}.json").write_text(text, encoding="utf-8")
    for name, text in schema_files(load_catalog()).items():
        (FOLDER / "requests" / name).write_text(text, encoding="utf-8")


main()
